"""Commands of the command line, one file each."""

from .bench import bench
from .configs import configs
from .demo import demo
from .doctor import doctor
from .run import run
from .verilog import verilog
from .waves import waves

__all__ = ["bench", "configs", "demo", "doctor", "run", "verilog", "waves"]
