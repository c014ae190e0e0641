//! The text of every message that the node publishes, as bags carry it, and of every service that it offers.
//!
//! The fields are those of ROS 2's interface packages (`std_msgs`, `sensor_msgs`, `diagnostic_msgs`, `geometry_msgs`,
//! `rcl_interfaces`, `rosgraph_msgs`, `lifecycle_msgs`, `action_msgs`, `vision_msgs`, `builtin_interfaces`; the same in Humble, Jazzy and Kilted;
//! `service_msgs` and `type_description_interfaces` since Iron), without their comments. Those of `perihelion_msgs` are its own files.

const HEADER_AND_TIME: &[&str] = &["std_msgs/msg/Header", "builtin_interfaces/msg/Time"];

/// Types with their own fields and the types that these name.
pub(super) const TYPES: &[(&str, &[&str], &str)] = &[
    ("builtin_interfaces/msg/Time", &[], "int32 sec\nuint32 nanosec\n"),
    (
        "std_msgs/msg/Header",
        &["builtin_interfaces/msg/Time"],
        "builtin_interfaces/Time stamp\nstring frame_id\n",
    ),
    ("std_msgs/msg/String", &[], "string data\n"),
    ("std_msgs/msg/Bool", &[], "bool data\n"),
    ("std_msgs/msg/Float32", &[], "float32 data\n"),
    ("std_msgs/msg/MultiArrayDimension", &[], "string label\nuint32 size\nuint32 stride\n"),
    (
        "std_msgs/msg/MultiArrayLayout",
        &["std_msgs/msg/MultiArrayDimension"],
        "std_msgs/MultiArrayDimension[] dim\nuint32 data_offset\n",
    ),
    (
        "std_msgs/msg/Float32MultiArray",
        &["std_msgs/msg/MultiArrayLayout"],
        "std_msgs/MultiArrayLayout layout\nfloat32[] data\n",
    ),
    (
        "sensor_msgs/msg/Image",
        &["std_msgs/msg/Header"],
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data\n",
    ),
    (
        "sensor_msgs/msg/CompressedImage",
        &["std_msgs/msg/Header"],
        "std_msgs/Header header\nstring format\nuint8[] data\n",
    ),
    (
        "sensor_msgs/msg/RegionOfInterest",
        &[],
        "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify\n",
    ),
    (
        "sensor_msgs/msg/CameraInfo",
        &["std_msgs/msg/Header", "sensor_msgs/msg/RegionOfInterest"],
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring distortion_model\nfloat64[] d\nfloat64[9] k\n\
         float64[9] r\nfloat64[12] p\nuint32 binning_x\nuint32 binning_y\nsensor_msgs/RegionOfInterest roi\n",
    ),
    ("geometry_msgs/msg/Vector3", &[], "float64 x\nfloat64 y\nfloat64 z\n"),
    (
        "geometry_msgs/msg/Twist",
        &["geometry_msgs/msg/Vector3"],
        "geometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular\n",
    ),
    ("geometry_msgs/msg/Point", &[], "float64 x\nfloat64 y\nfloat64 z\n"),
    ("geometry_msgs/msg/Quaternion", &[], "float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1\n"),
    (
        "geometry_msgs/msg/Pose",
        &["geometry_msgs/msg/Point", "geometry_msgs/msg/Quaternion"],
        "geometry_msgs/Point position\ngeometry_msgs/Quaternion orientation\n",
    ),
    (
        "geometry_msgs/msg/PoseWithCovariance",
        &["geometry_msgs/msg/Pose"],
        "geometry_msgs/Pose pose\nfloat64[36] covariance\n",
    ),
    ("vision_msgs/msg/Point2D", &[], "float64 x\nfloat64 y\n"),
    ("vision_msgs/msg/Pose2D", &["vision_msgs/msg/Point2D"], "vision_msgs/Point2D position\nfloat64 theta\n"),
    (
        "vision_msgs/msg/BoundingBox2D",
        &["vision_msgs/msg/Pose2D"],
        "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y\n",
    ),
    ("vision_msgs/msg/ObjectHypothesis", &[], "string class_id\nfloat64 score\n"),
    (
        "vision_msgs/msg/ObjectHypothesisWithPose",
        &["vision_msgs/msg/ObjectHypothesis", "geometry_msgs/msg/PoseWithCovariance"],
        "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose\n",
    ),
    (
        "vision_msgs/msg/Detection2D",
        &["std_msgs/msg/Header", "vision_msgs/msg/ObjectHypothesisWithPose", "vision_msgs/msg/BoundingBox2D"],
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n\
         vision_msgs/BoundingBox2D bbox\nstring id\n",
    ),
    (
        "vision_msgs/msg/Detection2DArray",
        &["std_msgs/msg/Header", "vision_msgs/msg/Detection2D"],
        "std_msgs/Header header\nvision_msgs/Detection2D[] detections\n",
    ),
    (
        "perihelion_msgs/msg/Answer",
        HEADER_AND_TIME,
        include_str!("../../../jetson/ros2/perihelion_msgs/msg/Answer.msg"),
    ),
    (
        "perihelion_msgs/msg/Forecast",
        HEADER_AND_TIME,
        include_str!("../../../jetson/ros2/perihelion_msgs/msg/Forecast.msg"),
    ),
    (
        "perihelion_msgs/msg/Surprise",
        &["std_msgs/msg/Header"],
        include_str!("../../../jetson/ros2/perihelion_msgs/msg/Surprise.msg"),
    ),
    (
        "perihelion_msgs/msg/Plan",
        HEADER_AND_TIME,
        include_str!("../../../jetson/ros2/perihelion_msgs/msg/Plan.msg"),
    ),
    ("rosgraph_msgs/msg/Clock", &["builtin_interfaces/msg/Time"], "builtin_interfaces/Time clock\n"),
    ("diagnostic_msgs/msg/KeyValue", &[], "string key\nstring value\n"),
    (
        "diagnostic_msgs/msg/DiagnosticStatus",
        &["diagnostic_msgs/msg/KeyValue"],
        "byte OK=0\nbyte WARN=1\nbyte ERROR=2\nbyte STALE=3\nbyte level\nstring name\nstring message\n\
         string hardware_id\ndiagnostic_msgs/KeyValue[] values\n",
    ),
    (
        "diagnostic_msgs/msg/DiagnosticArray",
        &["std_msgs/msg/Header", "diagnostic_msgs/msg/DiagnosticStatus"],
        "std_msgs/Header header\ndiagnostic_msgs/DiagnosticStatus[] status\n",
    ),
    (
        "rcl_interfaces/msg/Log",
        &["builtin_interfaces/msg/Time"],
        "byte DEBUG=10\nbyte INFO=20\nbyte WARN=30\nbyte ERROR=40\nbyte FATAL=50\nbuiltin_interfaces/Time stamp\n\
         uint8 level\nstring name\nstring msg\nstring file\nstring function\nuint32 line\n",
    ),
    (
        "rcl_interfaces/msg/ParameterValue",
        &[],
        "uint8 type\nbool bool_value\nint64 integer_value\nfloat64 double_value\nstring string_value\n\
         byte[] byte_array_value\nbool[] bool_array_value\nint64[] integer_array_value\nfloat64[] double_array_value\n\
         string[] string_array_value\n",
    ),
    (
        "rcl_interfaces/msg/Parameter",
        &["rcl_interfaces/msg/ParameterValue"],
        "string name\nrcl_interfaces/ParameterValue value\n",
    ),
    (
        "rcl_interfaces/msg/ParameterEvent",
        &["builtin_interfaces/msg/Time", "rcl_interfaces/msg/Parameter"],
        "builtin_interfaces/Time stamp\nstring node\nrcl_interfaces/Parameter[] new_parameters\n\
         rcl_interfaces/Parameter[] changed_parameters\nrcl_interfaces/Parameter[] deleted_parameters\n",
    ),
    ("rcl_interfaces/msg/FloatingPointRange", &[], "float64 from_value\nfloat64 to_value\nfloat64 step\n"),
    ("rcl_interfaces/msg/IntegerRange", &[], "int64 from_value\nint64 to_value\nuint64 step\n"),
    (
        "rcl_interfaces/msg/ParameterDescriptor",
        &["rcl_interfaces/msg/FloatingPointRange", "rcl_interfaces/msg/IntegerRange"],
        "string name\nuint8 type\nstring description\nstring additional_constraints\nbool read_only false\n\
         bool dynamic_typing false\nrcl_interfaces/FloatingPointRange[<=1] floating_point_range\n\
         rcl_interfaces/IntegerRange[<=1] integer_range\n",
    ),
    ("rcl_interfaces/msg/ListParametersResult", &[], "string[] names\nstring[] prefixes\n"),
    ("rcl_interfaces/msg/SetParametersResult", &[], "bool successful\nstring reason\n"),
    (
        "rcl_interfaces/msg/LoggerLevel",
        &[],
        "uint8 LOG_LEVEL_UNKNOWN = 0\nuint8 LOG_LEVEL_DEBUG = 10\nuint8 LOG_LEVEL_INFO = 20\n\
         uint8 LOG_LEVEL_WARN = 30\nuint8 LOG_LEVEL_ERROR = 40\nuint8 LOG_LEVEL_FATAL = 50\nstring name\n\
         uint32 level\n",
    ),
    (
        "lifecycle_msgs/msg/State",
        &[],
        "uint8 PRIMARY_STATE_UNKNOWN = 0\nuint8 PRIMARY_STATE_UNCONFIGURED = 1\nuint8 PRIMARY_STATE_INACTIVE = 2\n\
         uint8 PRIMARY_STATE_ACTIVE = 3\nuint8 PRIMARY_STATE_FINALIZED = 4\nuint8 TRANSITION_STATE_CONFIGURING = 10\n\
         uint8 TRANSITION_STATE_CLEANINGUP = 11\nuint8 TRANSITION_STATE_SHUTTINGDOWN = 12\n\
         uint8 TRANSITION_STATE_ACTIVATING = 13\nuint8 TRANSITION_STATE_DEACTIVATING = 14\n\
         uint8 TRANSITION_STATE_ERRORPROCESSING = 15\nuint8 id\nstring label\n",
    ),
    (
        "lifecycle_msgs/msg/Transition",
        &[],
        "uint8 TRANSITION_CREATE = 0\nuint8 TRANSITION_CONFIGURE = 1\nuint8 TRANSITION_CLEANUP = 2\n\
         uint8 TRANSITION_ACTIVATE = 3\nuint8 TRANSITION_DEACTIVATE = 4\nuint8 TRANSITION_UNCONFIGURED_SHUTDOWN = 5\n\
         uint8 TRANSITION_INACTIVE_SHUTDOWN = 6\nuint8 TRANSITION_ACTIVE_SHUTDOWN = 7\nuint8 TRANSITION_DESTROY = 8\n\
         uint8 id\nstring label\n",
    ),
    (
        "lifecycle_msgs/msg/TransitionDescription",
        &["lifecycle_msgs/msg/Transition", "lifecycle_msgs/msg/State"],
        "lifecycle_msgs/Transition transition\nlifecycle_msgs/State start_state\nlifecycle_msgs/State goal_state\n",
    ),
    (
        "lifecycle_msgs/msg/TransitionEvent",
        &["lifecycle_msgs/msg/Transition", "lifecycle_msgs/msg/State"],
        "uint64 timestamp\nlifecycle_msgs/Transition transition\nlifecycle_msgs/State start_state\n\
         lifecycle_msgs/State goal_state\n",
    ),
    ("unique_identifier_msgs/msg/UUID", &[], "uint8[16] uuid\n"),
    (
        "action_msgs/msg/GoalInfo",
        &["unique_identifier_msgs/msg/UUID", "builtin_interfaces/msg/Time"],
        "unique_identifier_msgs/UUID goal_id\nbuiltin_interfaces/Time stamp\n",
    ),
    (
        "action_msgs/msg/GoalStatus",
        &["action_msgs/msg/GoalInfo"],
        "int8 STATUS_UNKNOWN = 0\nint8 STATUS_ACCEPTED = 1\nint8 STATUS_EXECUTING = 2\nint8 STATUS_CANCELING = 3\n\
         int8 STATUS_SUCCEEDED = 4\nint8 STATUS_CANCELED = 5\nint8 STATUS_ABORTED = 6\n\
         action_msgs/GoalInfo goal_info\nint8 status\n",
    ),
    (
        "action_msgs/msg/GoalStatusArray",
        &["action_msgs/msg/GoalStatus"],
        "action_msgs/GoalStatus[] status_list\n",
    ),
    ("rcl_interfaces/msg/SetLoggerLevelsResult", &[], "bool successful\nstring reason\n"),
    (
        "service_msgs/msg/ServiceEventInfo",
        &["builtin_interfaces/msg/Time"],
        "uint8 REQUEST_SENT = 0\nuint8 REQUEST_RECEIVED = 1\nuint8 RESPONSE_SENT = 2\n\
         uint8 RESPONSE_RECEIVED = 3\nuint8 event_type\nbuiltin_interfaces/Time stamp\nchar[16] client_gid\n\
         int64 sequence_number\n",
    ),
    (
        "type_description_interfaces/msg/FieldType",
        &[],
        "uint8 type_id 0\nuint64 capacity\nuint64 string_capacity\nstring<=255 nested_type_name\n",
    ),
    (
        "type_description_interfaces/msg/Field",
        &["type_description_interfaces/msg/FieldType"],
        "string name\ntype_description_interfaces/FieldType type\nstring default_value\n",
    ),
    (
        "type_description_interfaces/msg/IndividualTypeDescription",
        &["type_description_interfaces/msg/Field"],
        "string<=255 type_name\ntype_description_interfaces/Field[] fields\n",
    ),
    (
        "type_description_interfaces/msg/TypeDescription",
        &["type_description_interfaces/msg/IndividualTypeDescription"],
        "type_description_interfaces/IndividualTypeDescription type_description\n\
         type_description_interfaces/IndividualTypeDescription[] referenced_type_descriptions\n",
    ),
    (
        "type_description_interfaces/msg/TypeSource",
        &[],
        "string type_name\nstring encoding\nstring raw_file_contents\n",
    ),
    ("type_description_interfaces/msg/KeyValue", &[], "string key\nstring value\n"),
];

/// Services with the fields of their requests and replies.
pub(super) const SERVICES: &[(&str, &str, &str)] = &[
    (
        "rcl_interfaces/srv/DescribeParameters",
        "string[] names\n",
        "rcl_interfaces/ParameterDescriptor[] descriptors\n",
    ),
    ("rcl_interfaces/srv/GetParameterTypes", "string[] names\n", "uint8[] types\n"),
    ("rcl_interfaces/srv/GetParameters", "string[] names\n", "rcl_interfaces/ParameterValue[] values\n"),
    (
        "rcl_interfaces/srv/ListParameters",
        "uint64 DEPTH_RECURSIVE=0\nstring[] prefixes\nuint64 depth\n",
        "rcl_interfaces/ListParametersResult result\n",
    ),
    (
        "rcl_interfaces/srv/SetParameters",
        "rcl_interfaces/Parameter[] parameters\n",
        "rcl_interfaces/SetParametersResult[] results\n",
    ),
    (
        "rcl_interfaces/srv/SetParametersAtomically",
        "rcl_interfaces/Parameter[] parameters\n",
        "rcl_interfaces/SetParametersResult result\n",
    ),
    ("rcl_interfaces/srv/GetLoggerLevels", "string[] names\n", "rcl_interfaces/LoggerLevel[] levels\n"),
    (
        "rcl_interfaces/srv/SetLoggerLevels",
        "rcl_interfaces/LoggerLevel[] levels\n",
        "rcl_interfaces/SetLoggerLevelsResult[] results\n",
    ),
    ("lifecycle_msgs/srv/ChangeState", "lifecycle_msgs/Transition transition\n", "bool success\n"),
    (
        "action_msgs/srv/CancelGoal",
        "action_msgs/GoalInfo goal_info\n",
        "int8 ERROR_NONE = 0\nint8 ERROR_REJECTED = 1\nint8 ERROR_UNKNOWN_GOAL_ID = 2\nint8 ERROR_GOAL_TERMINATED = 3\n\
         int8 return_code\naction_msgs/GoalInfo[] goals_canceling\n",
    ),
    ("lifecycle_msgs/srv/GetState", "", "lifecycle_msgs/State current_state\n"),
    ("lifecycle_msgs/srv/GetAvailableStates", "", "lifecycle_msgs/State[] available_states\n"),
    (
        "lifecycle_msgs/srv/GetAvailableTransitions",
        "",
        "lifecycle_msgs/TransitionDescription[] available_transitions\n",
    ),
    (
        "type_description_interfaces/srv/GetTypeDescription",
        "string type_name\nstring type_hash\nbool include_type_sources true\n",
        "bool successful\nstring failure_reason\n\
         type_description_interfaces/TypeDescription type_description\n\
         type_description_interfaces/TypeSource[] type_sources\n\
         type_description_interfaces/KeyValue[] extra_information\n",
    ),
];

/// Services and actions of our own, as their files have them.
pub(super) const FILES: &[(&str, &str)] = &[
    ("perihelion_msgs/srv/Ask", include_str!("../../../jetson/ros2/perihelion_msgs/srv/Ask.srv")),
    ("perihelion_msgs/srv/Imagine", include_str!("../../../jetson/ros2/perihelion_msgs/srv/Imagine.srv")),
    ("perihelion_msgs/action/Ask", include_str!("../../../jetson/ros2/perihelion_msgs/action/Ask.action")),
];

/// The definition of a type and of all types within it, in the layout of `ros2msg` schemas: its own fields, then each further
/// type under a line of `=` and its name. None for a type that is not ours to publish.
pub fn definition(ros_type: &str) -> Option<String> {
    let (_, within, own) = entry(ros_type)?;
    let mut text = (*own).to_owned();
    let mut open: Vec<&str> = within.to_vec();
    let mut written = vec![ros_type];
    while let Some(name) = open.pop() {
        if written.contains(&name) {
            continue;
        }
        written.push(name);
        let (_, within, own) = entry(name).expect("the table is closed, as its test says");
        let short = name.replace("/msg/", "/");
        text.push_str(&format!("{}\nMSG: {short}\n{own}", "=".repeat(80)));
        open.extend(*within);
    }
    Some(text)
}

fn entry(name: &str) -> Option<&'static (&'static str, &'static [&'static str], &'static str)> {
    TYPES.iter().find(|(known, ..)| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_type_is_defined_once() {
        for (name, ..) in TYPES {
            let text = definition(name).expect("it is in the table");
            let fields = text.lines().filter(|line| !line.starts_with("MSG") && !line.starts_with('#'));
            for line in fields.filter(|line| line.contains('/')) {
                let used = line.split([' ', '[']).next().expect("split yields one");
                let heading = format!("MSG: {used}");
                assert_eq!(text.lines().filter(|l| *l == heading).count(), 1, "{name}: {used}");
            }
        }
        assert_eq!(definition("std_msgs/msg/String").as_deref(), Some("string data\n"));
        assert_eq!(definition("my_msgs/msg/Other"), None);
    }
}
