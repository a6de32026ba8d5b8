"""What `greenserve loadtest` hands to Locust: one user that plays the plan."""

from locust import events

from greenserve.loadtest.plugin import InferUser, register

register(events)


class Client(InferUser):
    """Sends the plan's requests."""
