//! Types described field by field, and their hashes (REP-2011, REP-2016): what `~/get_type_description` answers.
//!
//! A description is read from the `.msg` text of `definitions`. Its hash is the SHA-256 of a JSON text whose every space
//! counts, without default values; equal hashes mean that bytes on the wire mean the same.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::interfaces;

/// `type_description_interfaces/msg/FieldType`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldType {
    /// 1 a nested type, 2 to 22 a plain one, 48 more an array, 96 more a bounded sequence, 144 more any sequence.
    pub type_id: u8,
    /// Elements of an array, or of a bounded sequence at most.
    pub capacity: u64,
    /// Characters of a bounded text at most.
    pub string_capacity: u64,
    /// The name of a nested type.
    pub nested_type_name: String,
}

/// `type_description_interfaces/msg/Field`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: FieldType,
    /// As Python writes it; empty if it has none.
    pub default_value: String,
}

/// `type_description_interfaces/msg/IndividualTypeDescription`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndividualType {
    /// As ROS writes it, such as `std_msgs/msg/String`.
    pub type_name: String,
    /// In the order of the wire.
    pub fields: Vec<Field>,
}

/// `type_description_interfaces/msg/TypeDescription`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeDescription {
    /// The type.
    pub own: IndividualType,
    /// All types within it, by name.
    pub referenced: Vec<IndividualType>,
}

/// `type_description_interfaces/msg/TypeSource`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeSource {
    /// The type.
    pub type_name: String,
    /// `msg`, `srv`, `action`, or `implicit` for what such a text makes.
    pub encoding: String,
    /// The text; empty if it is implicit.
    pub raw_file_contents: String,
}

/// The request of `type_description_interfaces/srv/GetTypeDescription`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeRequest {
    /// The type.
    pub type_name: String,
    /// Its hash.
    pub type_hash: String,
    /// Whether the texts are wanted too.
    pub include_type_sources: bool,
}

/// The reply of `type_description_interfaces/srv/GetTypeDescription`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeReply {
    /// Whether the type is known.
    pub successful: bool,
    /// Why not.
    pub failure_reason: String,
    /// The type.
    pub type_description: TypeDescription,
    /// The texts, where they were wanted.
    pub type_sources: Vec<TypeSource>,
    /// More, in pairs of key and value.
    pub extra_information: Vec<(String, String)>,
}

impl TypeDescription {
    /// A message, service or action type that the node speaks or hears; `None` for another.
    pub fn of(ros_type: &str) -> Option<Self> {
        let own = individual(ros_type)?;
        let mut referenced: Vec<IndividualType> = Vec::new();
        let mut open = nested(&own);
        while let Some(name) = open.pop() {
            if referenced.iter().any(|known| known.type_name == name) {
                continue;
            }
            let one = individual(&name)?;
            open.extend(nested(&one));
            referenced.push(one);
        }
        referenced.sort_by(|a, b| a.type_name.cmp(&b.type_name));
        Some(Self { own, referenced })
    }

    /// The hash, such as `RIHS01_df66…`: version 1 of the "ROS interface hashing standard".
    pub fn hash(&self) -> String {
        let referenced: Vec<String> = self.referenced.iter().map(json).collect();
        let text = format!(
            "{{\"type_description\": {}, \"referenced_type_descriptions\": [{}]}}",
            json(&self.own),
            referenced.join(", ")
        );
        let digest = Sha256::digest(text.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("RIHS01_{hex}")
    }

    /// The texts of the type and of those within it.
    pub fn sources(&self) -> Vec<TypeSource> {
        [&self.own].into_iter().chain(&self.referenced).map(|one| source(&one.type_name)).collect()
    }
}

/// As it is hashed: our names need no escapes.
fn json(one: &IndividualType) -> String {
    let field = |field: &Field| {
        let FieldType { type_id, capacity, string_capacity, nested_type_name } = &field.kind;
        format!(
            "{{\"name\": \"{}\", \"type\": {{\"type_id\": {type_id}, \"capacity\": {capacity}, \
             \"string_capacity\": {string_capacity}, \"nested_type_name\": \"{nested_type_name}\"}}}}",
            field.name
        )
    };
    let fields: Vec<String> = one.fields.iter().map(field).collect();
    format!("{{\"type_name\": \"{}\", \"fields\": [{}]}}", one.type_name, fields.join(", "))
}

fn nested(one: &IndividualType) -> Vec<String> {
    let names = one.fields.iter().map(|field| &field.kind.nested_type_name);
    names.filter(|name| !name.is_empty()).cloned().collect()
}

fn individual(name: &str) -> Option<IndividualType> {
    let mut fields: Vec<Field> = interfaces::text(name)?.lines().filter_map(field).collect();
    if fields.is_empty() {
        // IDL knows no type without a member, and ROS describes types by their IDL.
        fields.extend(field("uint8 structure_needs_at_least_one_member"));
    }
    Some(IndividualType { type_name: name.to_owned(), fields })
}

fn source(name: &str) -> TypeSource {
    let (encoding, raw_file_contents) = interfaces::source(name);
    TypeSource { type_name: name.to_owned(), encoding: encoding.to_owned(), raw_file_contents }
}

/// A line of a definition: a field, or `None` for a constant, a comment or nothing.
fn field(line: &str) -> Option<Field> {
    let (kind, rest) = line.split_once(' ').filter(|_| !line.starts_with('#'))?;
    if rest.contains('=') {
        return None;
    }
    let (name, default) = rest.split_once(' ').unwrap_or((rest, ""));
    let default_value = match default {
        "true" => "True".to_owned(),
        "false" => "False".to_owned(),
        whole if kind.starts_with("float") && whole.parse::<i64>().is_ok() => format!("{whole}.0"),
        other => other.to_owned(),
    };
    Some(Field { name: name.to_owned(), kind: field_type(kind), default_value })
}

/// What is added to a type's number for an array, a bounded sequence, any sequence.
const COLLECTIONS: [u8; 3] = [48, 96, 144];

/// Plain types and their numbers in `FieldType`. In a `.msg` text a `char` is a `uint8`.
const PLAIN: [(&str, u8); 15] = [
    ("int8", 2),
    ("uint8", 3),
    ("char", 3),
    ("int16", 4),
    ("uint16", 5),
    ("int32", 6),
    ("uint32", 7),
    ("int64", 8),
    ("uint64", 9),
    ("float32", 10),
    ("float64", 11),
    ("bool", 15),
    ("byte", 16),
    ("string", 17),
    ("wstring", 18),
];

fn field_type(text: &str) -> FieldType {
    let (element, bounds) =
        text.strip_suffix(']').and_then(|text| text.split_once('[')).unwrap_or((text, "no"));
    let number = |text: &str| text.parse().expect("our definitions have numbers there");
    let (added, capacity) = match (bounds, bounds.strip_prefix("<=")) {
        ("no", _) => (0, 0),
        ("", _) => (COLLECTIONS[2], 0),
        (_, Some(most)) => (COLLECTIONS[1], number(most)),
        (count, None) => (COLLECTIONS[0], number(count)),
    };
    let of = |type_id: u8, string_capacity, nested: String| FieldType {
        type_id: type_id + added,
        capacity,
        string_capacity,
        nested_type_name: nested,
    };
    if let Some((_, id)) = PLAIN.iter().find(|(plain, _)| *plain == element) {
        return of(*id, 0, String::new());
    }
    if let Some(most) = element.strip_prefix("string<=") {
        return of(21, number(most), String::new());
    }
    let is_whole = ["/msg/", "/srv/", "/action/"].iter().any(|kind| element.contains(kind));
    of(1, 0, if is_whole { element.to_owned() } else { element.replace('/', "/msg/") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros2::messages::definitions::{FILES, SERVICES, TYPES};

    /// As ROS 2 Jazzy and Kilted have them beside their types.
    const HASHES: [(&str, &str); 43] = [
        (
            "unique_identifier_msgs/msg/UUID",
            "1b8e8aca958cbea28fe6ef60bf6c19b683c97a9ef60bb34752067d0f2f7ab437",
        ),
        ("action_msgs/msg/GoalInfo", "6398fe763154554353930716b225947f93b672f0fb2e49fdd01bb7a7e37933e9"),
        ("action_msgs/msg/GoalStatus", "32f4cfd717735d17657e1178f24431c1ce996c878c515230f6c5b3476819dbb9"),
        (
            "action_msgs/msg/GoalStatusArray",
            "6c1684b00f177d37438febe6e709fc4e2b0d4248dca4854946f9ed8b30cda83e",
        ),
        ("action_msgs/srv/CancelGoal", "573d8b0a534451d7bc2ac8c5ffde8ac14b8593b7001175d0cd6516dcbeb8689a"),
        ("lifecycle_msgs/msg/State", "dd2d02b82f3ebc858e53c431b1e6e91f3ffc71436fc81d0715214ac6ee2107a0"),
        ("lifecycle_msgs/msg/Transition", "c65d7b31ea134cba4f54fc867b817979be799f7452035cd35fac9b7421fb3424"),
        (
            "lifecycle_msgs/msg/TransitionDescription",
            "c5f1cd4bb1ad2ba0e3329d4ac7015c52a674a72c1faf7974c37a33f4f6048b28",
        ),
        (
            "lifecycle_msgs/msg/TransitionEvent",
            "d5f8873a2f0146498f812d7885c7327ce27e463d36811d8792f35ee38c0d6c38",
        ),
        (
            "lifecycle_msgs/srv/ChangeState",
            "356fe34f0475a43acf54542013af4167b0e729f77ea22ffb045c6ad8e20668e5",
        ),
        ("lifecycle_msgs/srv/GetState", "800a0a5aae599782b02932de0caf563f6dc4e7e94b794eadde075ba2cbef9795"),
        (
            "lifecycle_msgs/srv/GetAvailableStates",
            "00a07d79d2207d71e81a8cbc1880e5d924cc16d4688ea8e8e06e443dc8f8aa1d",
        ),
        (
            "lifecycle_msgs/srv/GetAvailableTransitions",
            "59b7ecefce0982a8a844b9f2c4f14764c1c4543cc55e72924e2aa4adad83e9bc",
        ),
        ("builtin_interfaces/msg/Time", "b106235e25a4c5ed35098aa0a61a3ee9c9b18d197f398b0e4206cea9acf9c197"),
        ("std_msgs/msg/Header", "f49fb3ae2cf070f793645ff749683ac6b06203e41c891e17701b1cb597ce6a01"),
        ("std_msgs/msg/String", "df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"),
        ("std_msgs/msg/Float32", "7170d3d8f841f7be3172ce5f4f59f3a4d7f63b0447e8b33327601ad64d83d6e2"),
        (
            "std_msgs/msg/MultiArrayDimension",
            "5e773a60a4c7fc8a54985f307c7837aa2994252a126c301957a24e31282c9cbe",
        ),
        ("std_msgs/msg/MultiArrayLayout", "4c66e6f78e740ac103a94cf63259f968e48c617e7699e829b63c21a5cb50dac6"),
        (
            "std_msgs/msg/Float32MultiArray",
            "0599f6f85b4bfca379873a0b4375a0aca022156bd2d7021275d116ed1fa8bfe0",
        ),
        ("sensor_msgs/msg/Image", "d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47"),
        (
            "sensor_msgs/msg/CompressedImage",
            "15640771531571185e2efc8a100baf923961a4d15d5569652e6cb6691e8e371a",
        ),
        ("sensor_msgs/msg/CameraInfo", "b3dfd68ff46c9d56c80fd3bd4ed22c7a4ddce8c8348f2f59c299e73118e7e275"),
        (
            "sensor_msgs/msg/RegionOfInterest",
            "ad16bcba5f9131dcdba6fbded19f726f5440e3c513b4fb586dd3027eeed8abb1",
        ),
        ("geometry_msgs/msg/Vector3", "cc12fe83e4c02719f1ce8070bfd14aecd40f75a96696a67a2a1f37f7dbb0765d"),
        ("geometry_msgs/msg/Twist", "9c45bf16fe0983d80e3cfe750d6835843d265a9a6c46bd2e609fcddde6fb8d2a"),
        ("rosgraph_msgs/msg/Clock", "692f7a66e93a3c83e71765d033b60349ba68023a8c689a79e48078bcb5c58564"),
        ("diagnostic_msgs/msg/KeyValue", "d68081eaa540288c5440753baecef0c4e16e81a5f78ad68902ded5100413bb42"),
        (
            "diagnostic_msgs/msg/DiagnosticStatus",
            "b0e3e692ea2d54a8af2f4ef1930e81556a2db55216b771f8a7d2724ed47bf0e4",
        ),
        (
            "diagnostic_msgs/msg/DiagnosticArray",
            "5a8a36efb05fb25070fa0fb3810290c0e6cd4862b54a8fb975a1ee8dc55a333e",
        ),
        ("rcl_interfaces/msg/Log", "e28ce254ca8abc06abf92773b74602cdbf116ed34fbaf294fb9f81da9f318eac"),
        (
            "rcl_interfaces/msg/ParameterValue",
            "115fc089a387e23c7ecd3525c9189c379109119d6ab82e8dfbde0fdf6a7f9b68",
        ),
        ("rcl_interfaces/msg/Parameter", "ddfe6442cffc462317adb5c92536a7b6dd55858c5c3e1e328165a6b73c2831af"),
        (
            "rcl_interfaces/msg/ParameterEvent",
            "043e627780fcad87a22d225bc2a037361dba713fca6a6b9f4b869a5aa0393204",
        ),
        (
            "rcl_interfaces/srv/DescribeParameters",
            "845b484d71eb0673dae682f2e3ba3c4851a65a3dcfb97bddd82c5b57e91e4cff",
        ),
        (
            "rcl_interfaces/srv/GetParameterTypes",
            "da199c878688b3e530bdfe3ca8f74cb9fa0c303101e980a9e8f260e25e1c80ca",
        ),
        (
            "rcl_interfaces/srv/GetParameters",
            "bf9803d5c74cf989a5de3e0c2e99444599a627c7ff75f97b8c05b01003675cbc",
        ),
        (
            "rcl_interfaces/srv/ListParameters",
            "3e6062bfbb27bfb8730d4cef2558221f51a11646d78e7bb30a1e83afac3aad9d",
        ),
        (
            "rcl_interfaces/srv/SetParameters",
            "56eed9a67e169f9cb6c1f987bc88f868c14a8fc9f743a263bc734c154015d7e0",
        ),
        (
            "rcl_interfaces/srv/SetParametersAtomically",
            "0e192ef259c07fc3c07a13191d27002222e65e00ccec653ca05e856f79285fcd",
        ),
        (
            "rcl_interfaces/srv/GetLoggerLevels",
            "03bf1bebd0d6514c7ed0ba7c5e08dc9f2f39c759fe99e1e30ea4157d7674f72d",
        ),
        (
            "rcl_interfaces/srv/SetLoggerLevels",
            "3ff86cb4e91fbf9abae15c234ecc874448de6ece8e193401c077cf116e4f6d78",
        ),
        (
            "type_description_interfaces/srv/GetTypeDescription",
            "69b9c19c1021405984cc60dbbb1edceb147a6538b411d812ba6afabeed962cd5",
        ),
    ];

    /// As rosbags computes them from the texts: ROS has none of its own beside these here.
    const COMPUTED: [(&str, &str); 13] = [
        ("std_msgs/msg/Bool", "feb91e995ff9ebd09c0cb3d2aed18b11077585839fb5db80193b62d74528f6c9"),
        (
            "geometry_msgs/msg/PoseWithCovariance",
            "9a7c0fd234b7f45c6098745ecccd773ca1085670e64107135397aee31c02e1bb",
        ),
        ("perihelion_msgs/msg/Answer", "7b49c2d6c47ff133a5b4f5ae237bde50fbc2ee25dd110603b9eafa4cfd98381c"),
        ("perihelion_msgs/msg/Forecast", "92f6cd4846d1b49e031a58a127a3d1fe65e072e7ca12e962c9574bd236578a72"),
        ("perihelion_msgs/msg/Plan", "98b9e6ea53509ad21d6cd676732195d6c510653ffb378e4f26ebd4a42349eebf"),
        ("perihelion_msgs/msg/Surprise", "74b1cc2e1cba21252623e3d54cac0f46054af9a46253b8e029d3fd6c7f1e35e9"),
        ("vision_msgs/msg/BoundingBox2D", "008eacbb0cf8f26e83795547bed013eec3675485ef386ec056d80eaaf1c1ce2f"),
        ("vision_msgs/msg/Detection2D", "0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea"),
        (
            "vision_msgs/msg/Detection2DArray",
            "214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
        ),
        (
            "vision_msgs/msg/ObjectHypothesis",
            "51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90",
        ),
        (
            "vision_msgs/msg/ObjectHypothesisWithPose",
            "41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc",
        ),
        ("vision_msgs/msg/Point2D", "eab0e83f44ab4de92ceaf76dd7d0e7638f2bdd1d16ffbe16c7a136c48e407247"),
        ("vision_msgs/msg/Pose2D", "b0b5d1d7b4c20dd4fcde3ed1d4b289a919290572007d67a97043814db25d3648"),
    ];

    /// As the generator of Jazzy and Kilted makes them of our own texts (`tests/real_ros/described.py`).
    const GENERATED: [(&str, &str); 6] = [
        ("perihelion_msgs/srv/Ask", "5c25649bc42d777d4e154802f9cc045b48de4d244fc728d32d1112b5445763e4"),
        ("perihelion_msgs/srv/Imagine", "0b21d42835b855dba88d535ce024e859458b4e339fb99866fd66e16845096c86"),
        ("perihelion_msgs/action/Ask", "8bb8455dc22e688588aa915319c10bc83f820422f60b38ef781368f276cf0093"),
        (
            "perihelion_msgs/action/Ask_SendGoal",
            "fe72862044f3818e739278ddd638e260c1bd79406e41f4172d40529772f75df6",
        ),
        (
            "perihelion_msgs/action/Ask_GetResult",
            "a3f73899751d12a0bf291d8b441578e9afccbe9a9a10785eac6ae23d99a94629",
        ),
        (
            "perihelion_msgs/action/Ask_FeedbackMessage",
            "eb1e9e72c1f1fc0454e668d45185f687ddc654f3439fc3f95c367a676f9dea43",
        ),
    ];

    #[test]
    fn hashes_are_those_of_ros() {
        for (name, hash) in HASHES.into_iter().chain(COMPUTED).chain(GENERATED) {
            let description = TypeDescription::of(name).unwrap_or_else(|| panic!("{name} is not described"));
            assert_eq!(description.hash(), format!("RIHS01_{hash}"), "{name}: {description:?}");
        }
    }

    #[test]
    fn every_type_that_is_defined_is_described() {
        let services = SERVICES.iter().map(|(name, ..)| *name);
        let files = FILES.iter().map(|(name, _)| *name);
        for name in TYPES.iter().map(|(name, ..)| *name).chain(services).chain(files) {
            let description = TypeDescription::of(name).unwrap_or_else(|| panic!("{name} is not described"));
            assert_eq!(description.sources().len(), 1 + description.referenced.len());
        }
        for other in [
            "my_msgs/msg/Other",
            "rcl_interfaces/srv/GetParameters_Other",
            "perihelion_msgs/action/Ask_SendGoal_Other",
            "perihelion_msgs/srv/Ask_SendGoal",
            "String",
            "",
        ] {
            assert_eq!(TypeDescription::of(other), None, "{other}");
        }
    }

    #[test]
    fn fields_are_read_with_their_bounds_and_defaults() {
        let read = |line| field(line).map(|field| (field.name, field.kind, field.default_value));
        let kind = |type_id, capacity, string_capacity, nested: &str| FieldType {
            type_id,
            capacity,
            string_capacity,
            nested_type_name: nested.to_owned(),
        };
        let check = |line, name: &str, expected, default: &str| {
            assert_eq!(read(line), Some((name.to_owned(), expected, default.to_owned())), "{line}");
        };
        check("uint8[] data", "data", kind(147, 0, 0, ""), "");
        check("char[16] client_gid", "client_gid", kind(51, 16, 0, ""), "");
        check("string<=255 type_name", "type_name", kind(21, 0, 255, ""), "");
        check("float64 w 1", "w", kind(11, 0, 0, ""), "1.0");
        check("bool read_only false", "read_only", kind(15, 0, 0, ""), "False");
        check("a/B[<=1] one", "one", kind(97, 1, 0, "a/msg/B"), "");
        assert_eq!(
            ["byte OK=0", "uint8 REQUEST_SENT = 0", "", "# of a field"].map(read),
            [None, None, None, None]
        );
    }
}
