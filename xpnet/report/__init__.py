"""Results for people to read: numbers, pictures, experiments."""
