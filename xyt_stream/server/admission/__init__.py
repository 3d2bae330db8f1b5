"""Who may connect, and how much of everything they may have."""
