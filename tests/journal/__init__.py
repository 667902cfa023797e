"""The journal that is durable: a disk that forgets, and what a log makes of it."""
