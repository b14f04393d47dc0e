"""One function a kind of result: takes a result, returns Axes."""
