"""A practice incident in this process: scenarios, the stage that they are played on, and the game."""
