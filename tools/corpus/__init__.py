"""A grammar of little stories, explanations and conversations for the demo model."""
