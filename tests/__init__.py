"""The suite: unit tests, scenarios, and the shared support that builds what they read."""
