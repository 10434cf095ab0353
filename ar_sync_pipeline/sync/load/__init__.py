"""From waiting archives to the receiver's rows and media files."""
