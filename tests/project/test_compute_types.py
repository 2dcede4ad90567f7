"""Compute Engine's types, each made once it is asked for: they are what the whole module makes."""

import json
import subprocess
import sys

SUMMARY = """
import hashlib, json
def summary(compute):
    from google.protobuf.descriptor_pb2 import DescriptorProto
    found = {}
    for name in compute.__all__:
        each = getattr(compute, name)
        said = DescriptorProto()
        each.pb().DESCRIPTOR.CopyToProto(said)
        fields = {name: getattr(of.message or of.enum, "__qualname__", None) for name, of in each.meta.fields.items()}
        names = [each.__module__, each.__qualname__, each.meta.full_name, sorted(vars(each)), fields]
        found[name] = hashlib.sha256(said.SerializeToString(deterministic=True) + repr(names).encode()).hexdigest()
    return found
"""
WHOLE = """
from google.cloud.compute_v1.types import compute
print(json.dumps(summary(compute)))
"""
BY_ONE = """
import cos_customizer
from google.cloud.compute_v1.types import compute
print(json.dumps(summary(compute)))
"""
INTERRUPTIBLE = """
import cos_customizer, sys
from google.cloud.compute_v1.types import compute
compute.Image
from cos_customizer.flows.interrupts import Interrupts
with Interrupts(60):
    assert set(compute.__all__) <= set(vars(compute)), "an interruption may find one half made"
assert not any("cos_customizer" in type(finder).__module__ for finder in sys.meta_path), "or import another one in part"
"""
USED = """
import copy, pickle, sys, threading
import cos_customizer
from google.cloud import compute_v1
from google.cloud.compute_v1.types import compute
def made(): return sum(isinstance(each, type) for each in vars(compute).values())
assert made() == 0
vm = compute_v1.Instance(
    name="a",
    labels={"one": "1"},
    disks=[compute_v1.AttachedDisk(boot=True)],
    scheduling={"max_run_duration": {"seconds": 3}},
    status="RUNNING",
)
assert 0 < made() < 100
read = compute_v1.Instance.from_json(compute_v1.Instance.to_json(vm))
for other in (pickle.loads(pickle.dumps(vm)), copy.deepcopy(vm), read):
    assert other == vm and type(other) is compute_v1.Instance and type(other.disks[0]) is compute_v1.AttachedDisk
assert compute_v1.Instance.deserialize(compute_v1.Instance.serialize(vm)) == vm
assert compute_v1.Instance.Status.RUNNING.name == "RUNNING"
from google.cloud.compute_v1 import types
from google.cloud.compute_v1.types import Image, compute
assert Image is compute.Image is types.Image is compute_v1.Image
assert compute_v1.types is types and compute_v1.services.__name__ == "google.cloud.compute_v1.services"
assert len(dir(compute)) > 2000 and "Zone" in dir(compute)
seen = []
def look(): seen.append([getattr(compute, name) for name in compute.__all__[:200]])
threads = [threading.Thread(target=look) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
assert len(seen) == 8 and all(each == seen[0] for each in seen)
for module in (compute, types, compute_v1):
    assert not hasattr(module, "Nonsense") and not hasattr(module, "__wrapped__")
from google.cloud.compute_v1.types import *
assert Zone is compute.Zone
"""
STRANGE = """
import sys
from types import ModuleType
import cos_customizer
from cos_customizer.compute_types import LazyTypes
module = sys.modules["strange"] = ModuleType("strange")
source = '''
import proto
__protobuf__ = proto.module(package="strange", manifest={"One", "Two"})
class One(proto.Message):
    two = proto.Field(proto.MESSAGE, number=1, message="Two")
class Base:
    pass
class Two(proto.Message):
    one = proto.Field(proto.MESSAGE, number=1, message="One")
'''
LazyTypes(module, compile(source, "strange.py", "exec")).load()
assert module.One(two=module.Two()).two == module.Two() and module.Base() and "__getattr__" not in vars(module)
"""


def _run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", program], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def test_the_types_are_those_of_the_whole_module() -> None:
    whole, by_one = (json.loads(_run(SUMMARY + program)) for program in (WHOLE, BY_ONE))
    assert len(whole) > 2000
    assert by_one == whole


def test_all_are_made_before_anything_may_interrupt() -> None:
    _run(INTERRUPTIBLE)


def test_types_are_used_as_ever_and_few_are_made() -> None:
    _run(USED)


def test_a_module_that_is_not_as_known_is_run_whole() -> None:
    _run(STRANGE)
