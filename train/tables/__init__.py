"""The paper's tables with our figures beside its own, and the pictures that go with them."""
