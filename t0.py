import sys; sys.path.append('/tmp/h/cycle/.venv/site')
import time, numpy as np
from hdl.config import configuration
from verif.programs import RandomProgram
from sim.cycle.plan import decode
c=configuration('edge')
im=RandomProgram(c,np.random.default_rng(1),gemms=40,memory_bytes=1<<22).finish()
print(im.count)
from hdl.isa import Instruction, illegal_fields
r=[im.memory[im.entry+64*i:im.entry+64*i+64].tobytes() for i in range(im.count)]
t=time.time(); ins=[Instruction.decode(x) for x in r]; print((time.time()-t)/im.count*1e6,"us decode")
t=time.time(); [illegal_fields(c,x) for x in ins]; print((time.time()-t)/im.count*1e6,"us check")
