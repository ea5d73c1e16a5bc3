import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "results"))  # where the programs import their own parts from
