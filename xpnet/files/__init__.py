"""Files and their formats; nothing here knows of learning."""
