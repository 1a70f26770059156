"""What people read of a training: numbers, pictures, experiments."""
