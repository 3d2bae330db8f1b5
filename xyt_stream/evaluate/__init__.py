"""How good the decoded speech is, and what the codes carry (extra "eval")."""
