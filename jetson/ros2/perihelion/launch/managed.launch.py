"""A managed node that is configured and activated as soon as it is there:
`ros2 launch perihelion managed.launch.py engine:=reason.engine image:=/camera/image_raw`.

Afterwards it is whoever's who changes its state: `ros2 lifecycle set /perihelion deactivate`.
"""

import shlex

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

ARGUMENTS = [
    ("engine", None, "the engine; two, one that answers and one that forecasts, are parted by a space"),
    ("image", "/camera/image_raw", "the camera's topic"),
    ("name", "perihelion", "the node's name"),
    ("namespace", "", "the node's namespace"),
    ("params_file", "", "a parameter file"),
    ("options", "", "further options of `perihelion run`"),
]


def start(context):
    given = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    node = LifecycleNode(
        package="perihelion",
        executable="perihelion",
        name=given["name"],
        namespace=given["namespace"],
        arguments=["run", *shlex.split(given["engine"]), "--lifecycle", *shlex.split(given["options"])],
        remappings=[("image", given["image"])],
        parameters=[given["params_file"]] if given["params_file"] else [],
        output="screen",
    )

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
