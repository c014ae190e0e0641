"""A manager of one managed node, and what it hears of it."""

from lifecycle_msgs.msg import Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState


class Manager:
    """Asks one managed node, and hears of its transitions."""

    def __init__(self, peer, name, expect):
        self.peer, self.name, self.expect, self.clients, self.events = peer, name, expect, {}, []
        hear = lambda event: self.events.append((state(event.start_state), state(event.goal_state)))
        peer.node.create_subscription(TransitionEvent, f"{name}/transition_event", hear, 10)

    def ask(self, kind, service, **fields):
        if service not in self.clients:
            self.clients[service] = self.peer.node.create_client(kind, f"{self.name}/{service}")
            self.expect(self.peer.until(self.clients[service].service_is_ready, 10) is not None, f"{self.name}/{service} is not found")
        asked = self.clients[service].call_async(kind.Request(**fields))
        self.expect(self.peer.until(asked.done, 30) is not None, f"{self.name}/{service} gives no reply")
        return asked.result()

    def change(self, number=0, label=""):
        return self.ask(ChangeState, "change_state", transition=Transition(id=number, label=label)).success

    def state(self):
        return state(self.ask(GetState, "get_state").current_state)

    def states(self):
        return [state(one) for one in self.ask(GetAvailableStates, "get_available_states").available_states]

    def transitions(self, service="get_available_transitions"):
        found = self.ask(GetAvailableTransitions, service).available_transitions
        return [(state(one.transition), state(one.start_state), state(one.goal_state)) for one in found]

    def heard(self, n):
        self.peer.until(lambda: n <= len(self.events), 5)
        events, self.events[:] = self.events[:], []
        return events


def state(message):
    return message.id, message.label
