"""Starts Perihelion beside other nodes: `ros2 launch /usr/share/perihelion/launch/perihelion.launch.py engine:=reason.engine`.

It is a program and no package of ROS, so that it is started as a process, and anew two seconds after it ended: exit code 70, for one,
says that the device is lost, which a new process mends.
"""

import shlex

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration

ARGUMENTS = [
    ("engine", None, "the engine; two, one that answers and one that forecasts, are parted by a space"),
    ("image", "/camera/image_raw", "the camera's topic"),
    ("params_file", "", "a parameter file"),
    ("namespace", "/", "the node's namespace"),
    ("options", "", "further options of `perihelion run`"),
]


def start(context):
    def value(name):
        return LaunchConfiguration(name).perform(context)

    ros = ["-r", f"image:={value('image')}", "-r", f"__ns:={value('namespace')}"]
    if value("params_file"):
        ros += ["--params-file", value("params_file")]
    command = ["perihelion", "run", *shlex.split(value("engine")), *shlex.split(value("options")), "--ros-args", *ros]
    return [ExecuteProcess(cmd=command, output="screen", respawn=True, respawn_delay=2.0)]


def generate_launch_description():
    def declared(name, default, description):
        return DeclareLaunchArgument(name, default_value=default, description=description)

    return LaunchDescription([*(declared(*argument) for argument in ARGUMENTS), OpaqueFunction(function=start)])
