"""Makes Python's modules of our interface package with the generators of ROS and a C compiler, as colcon would: into a folder for PYTHONPATH.

    python typed.py FOLDER

What is there and was made of the same texts stays.
"""

import concurrent.futures
import contextlib
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

from rosidl_adapter.action import convert_action_to_idl
from rosidl_adapter.msg import convert_msg_to_idl
from rosidl_adapter.srv import convert_srv_to_idl
from rosidl_generator_c import generate_c
from rosidl_generator_py import generate_py
from rosidl_generator_type_description import generate_type_hash
from rosidl_typesupport_c import generate_c as generate_typesupport_c
from rosidl_typesupport_fastrtps_c import generate_typesupport_fastrtps_c
from rosidl_typesupport_introspection_c import generate_c as generate_introspection_c

PACKAGE = "perihelion_msgs"
TEXTS = pathlib.Path(__file__).resolve().parents[2] / "jetson" / "ros2" / PACKAGE
NEEDED = ("action_msgs", "builtin_interfaces", "sensor_msgs", "service_msgs", "std_msgs", "unique_identifier_msgs")
PREFIX = pathlib.Path(sys.prefix)
DESCRIBED = "described"
# What is tried: the rest would take as long again to compile.
FILES = ("msg/Answer.msg", "msg/Forecast.msg", "srv/Ask.srv", "srv/Imagine.srv", "action/Ask.action")
# How messages are written, and how they are described to Fast DDS.
SUPPORTS = ("rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c")


def generate(work):
    """Everything that is compiled, below work/PACKAGE."""
    convert = dict(msg=convert_msg_to_idl, srv=convert_srv_to_idl, action=convert_action_to_idl)
    out, idl, hashes = work / PACKAGE, [], []
    for path in FILES:
        kind, name = path.split("/")
        convert[kind](TEXTS, PACKAGE, pathlib.Path(path), work / "idl" / kind)
        stem = name.removesuffix(f".{kind}")
        idl.append(f"{work / 'idl'}:{kind}/{stem}.idl")
        hashes.append(f"{kind}/{stem}.idl:{out / kind / stem}.json")
    arguments = dict(package_name=PACKAGE, idl_tuples=idl, type_description_tuples=hashes, ros_interface_dependencies=[],
                     target_dependencies=[], include_paths=[f"{other}:{PREFIX / 'share' / other}" for other in NEEDED])
    file = work / "arguments.json"

    def run(step, templates, *more, root=work):
        resources = PREFIX / "share" / (templates or "") / "resource"
        file.write_text(json.dumps(arguments | dict(template_dir=str(resources), output_dir=str(root / PACKAGE))))
        step(str(file), *more)

    run(generate_type_hash, None)
    run(generate_c, "rosidl_generator_c")
    run(generate_typesupport_fastrtps_c, SUPPORTS[0])
    # Its files have names of the first one's.
    run(generate_introspection_c, SUPPORTS[1], root=work / DESCRIBED)
    run(generate_typesupport_c, "rosidl_typesupport_c", list(SUPPORTS))
    run(generate_py, "rosidl_generator_py", ["rosidl_typesupport_c"])
    visibility = f"#define ROSIDL_{{0}}_PUBLIC_{PACKAGE} __attribute__((visibility(\"default\")))\n"
    for generator in ("GENERATOR_C", "TYPESUPPORT_FASTRTPS_C", "TYPESUPPORT_INTROSPECTION_C"):
        name = f"rosidl_{generator.lower()}__visibility_control.h"
        (out / "msg" / name).write_text("#pragma once\n" + visibility.format(generator)
                                        + f"#define ROSIDL_{generator}_IMPORT_{PACKAGE}\n#define ROSIDL_{generator}_EXPORT_{PACKAGE}\n")
    return out


def compile_all(work, out):
    """One library with all of it, under the names by which ROS looks for its parts, and the module that Python loads."""
    include = [f"-I{work}", f"-I{work / DESCRIBED}", f"-I{sysconfig.get_path('include')}"]
    include += [f"-I{folder}" for folder in sorted((PREFIX / "include").iterdir()) if folder.is_dir()]
    include += [f"-I{PREFIX / 'include'}", f"-I{next((PREFIX / 'lib').glob('python3*/site-packages/numpy/_core/include'))}"]
    libraries = [f"-l{other}__{part}" for other in NEEDED for part in ("rosidl_generator_c", "rosidl_typesupport_c", "rosidl_generator_py", *SUPPORTS)]
    libraries += ["-lrosidl_runtime_c", "-lrosidl_typesupport_c", "-lrosidl_typesupport_fastrtps_c", "-lrosidl_typesupport_fastrtps_cpp", "-lrcutils", "-lrmw", "-lfastcdr"]
    sources = [source for root in (out, work / DESCRIBED) for kind in ("c", "cpp") for source in root.rglob(f"*.{kind}")]
    entry = out / f"_{PACKAGE}_s.ep.rosidl_typesupport_c.c"
    assert entry in sources, f"{entry} was not generated"

    def compiled(source):
        compiler = ["g++", "-std=c++17"] if source.suffix == ".cpp" else ["gcc"]
        target = work / "objects" / (str(source.relative_to(work)).replace("/", "+") + ".o")
        subprocess.run([*compiler, "-O0", "-w", "-fPIC", *include, "-c", str(source), "-o", str(target)], check=True)
        return str(target)

    (work / "objects").mkdir()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = dict(zip(sources, pool.map(compiled, sources)))
    # ROS opens a library for each support by its name; the second one brings what the first has.
    shared = ["g++", "-shared", f"-L{PREFIX / 'lib'}", f"-L{work}", "-Wl,--no-as-needed", f"-Wl,-rpath,{PREFIX / 'lib'},-rpath,{work}"]
    described = [path for source, path in objects.items() if source.is_relative_to(work / DESCRIBED)]
    rest = [path for source, path in objects.items() if source != entry and path not in described]
    for support, parts in zip(SUPPORTS, (rest, described)):
        name = f"lib{PACKAGE}__{support}.so"
        subprocess.run([*shared, f"-Wl,-soname,{name}", *parts, "-o", str(work / name), *libraries], check=True)
        libraries.insert(0, f"-l{PACKAGE}__{support}")
    module = out / f"{PACKAGE}_s__rosidl_typesupport_c.so"
    subprocess.run([*shared, objects[entry], "-o", str(module), *libraries], check=True)


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    digest = hashlib.sha256(b"".join((TEXTS / path).read_bytes() for path in FILES) + pathlib.Path(__file__).read_bytes()).hexdigest()
    complete = folder / "complete"
    if complete.exists() and complete.read_text() == digest:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with contextlib.redirect_stdout(io.StringIO()):
        out = generate(folder)
    (out / "__init__.py").write_text("")
    compile_all(folder, out)
    complete.write_text(digest)


if __name__ == "__main__":
    main()
