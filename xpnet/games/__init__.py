"""Games that a network learns to play, many of each kind at once, by operations on arrays."""

from xpnet.games.base import Game, State, Step, pushed
from xpnet.games.catch import Catch
from xpnet.games.dodge import Dodge
from xpnet.games.environments import Gym
from xpnet.games.playing import play_out

__all__ = ["Catch", "Dodge", "Game", "Gym", "State", "Step", "play_out", "pushed"]
