"""One function a target format."""
