"""The mathematics, as functions: activations, losses, windows, initial weights, gradients."""
