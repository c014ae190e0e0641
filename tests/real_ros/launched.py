"""A launch file of ours under ROS 2's own `launch`, with a camera of rclpy: three answers are heard, then all leave with exit code 0.

    launched.py LAUNCH_FILE ENGINE [NAME:=VALUE...]

Run where ROS 2 is set up (`launch` and `launch_ros` are in no package registry), after `colcon build` of `jetson/ros2`.
"""

import sys
import threading
import time

import rclpy
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import AnyLaunchDescriptionSource
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from std_msgs.msg import String

TOPIC, SIDE, PATIENCE = "/front/image_raw", 64, 60


def camera(heard, done):
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        show(rclpy.create_node("camera", context=context), context, heard)
    finally:
        rclpy.shutdown(context=context)
        done()


def show(node, context, heard):
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    node.create_subscription(String, "/perihelion/answer", lambda message: heard.append(message.data), 10)
    images = node.create_publisher(Image, TOPIC, 1)
    image = Image(height=SIDE, width=SIDE, encoding="rgb8", step=3 * SIDE, data=bytes([90] * (3 * SIDE * SIDE)))
    until = time.monotonic() + PATIENCE
    while len(heard) < 3 and time.monotonic() < until:
        image.header.stamp = node.get_clock().now().to_msg()
        images.publish(image)
        executor.spin_once(timeout_sec=0.1)
    node.destroy_node()


def main():
    launch_file, engine, *more = sys.argv[1:]
    arguments = [("engine", engine), ("image", TOPIC), *(tuple(word.split(":=", 1)) for word in more)]
    included = IncludeLaunchDescription(AnyLaunchDescriptionSource(launch_file), launch_arguments=arguments)
    service = LaunchService(noninteractive=True)
    ended, heard = [], []
    watch = OnProcessExit(on_exit=lambda event, context: ended.append(event.returncode))
    service.include_launch_description(LaunchDescription([RegisterEventHandler(watch), included]))
    beside = threading.Thread(target=camera, args=(heard, service.shutdown))
    beside.start()
    code = service.run()
    beside.join()
    if code != 0 or ended != [0] or len(heard) < 3:
        sys.exit(f"{launch_file}: {len(heard)} answers in {PATIENCE} s, 3 were expected; processes ended with {ended}, launch with {code}")
    print(f"{launch_file}: {len(heard)} answers, and all have left")


if __name__ == "__main__":
    main()
