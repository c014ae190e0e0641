"""Answers about a camera: `ros2 launch perihelion reason.launch.py engine:=reason.engine image:=/camera/image_raw`.

It starts anew two seconds after it ended: exit code 70, for one, says that the device is lost, which a new process mends. With
`managed:=true` it is a managed node, which is configured and activated as soon as it is there; afterwards it is whoever's who changes its
state (`ros2 lifecycle set /perihelion deactivate`), and it is not started anew.
"""

import shlex

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

ARGUMENTS = [
    ("engine", None, "the engine; two, one that answers and one that forecasts, are parted by a space"),
    ("image", "/camera/image_raw", "the camera's topic"),
    ("prompt", "", "the question"),
    ("name", "perihelion", "the node's name"),
    ("namespace", "", "the node's namespace"),
    ("params_file", "", "a parameter file"),
    ("options", "", "further options of `perihelion run`"),
    ("managed", "false", "`true` for a managed node"),
]


def start(context):
    given = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    words = ["run", *shlex.split(given["engine"]), *shlex.split(given["options"])]
    if given["prompt"]:
        words += ["--prompt", given["prompt"]]
    common = dict(
        package="perihelion",
        executable="perihelion",
        name=given["name"],
        namespace=given["namespace"],
        remappings=[("image", given["image"])],
        parameters=[given["params_file"]] if given["params_file"] else [],
        output="screen",
    )
    if given["managed"].lower() != "true":
        return [Node(arguments=words, respawn=True, respawn_delay=2.0, **common)]
    node = LifecycleNode(arguments=[*words, "--lifecycle"], **common)

    def change(transition):
        return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition))

    activate = OnStateTransition(
        target_lifecycle_node=node,
        start_state="configuring",
        goal_state="inactive",
        entities=[change(Transition.TRANSITION_ACTIVATE)],
    )
    return [RegisterEventHandler(activate), node, change(Transition.TRANSITION_CONFIGURE)]


def generate_launch_description():
    def declared(name, default, description):
        return DeclareLaunchArgument(name, default_value=default, description=description)

    return LaunchDescription([*(declared(*argument) for argument in ARGUMENTS), OpaqueFunction(function=start)])
