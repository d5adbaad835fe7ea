"""How a run is started: its request, Flower's app, a SuperLink of its own, processes, signals."""
