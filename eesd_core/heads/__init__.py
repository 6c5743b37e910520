"""What reads hidden states and proposes tokens."""
