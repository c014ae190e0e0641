//! The environment variables by which a machine's ROS 2 nodes find each other.

use std::net::{IpAddr, Ipv4Addr};

/// What the environment asks of a participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// `ROS_DOMAIN_ID`, 0 if unset.
    pub domain_id: u16,
    /// Who may be discovered.
    pub reach: Reach,
    /// Whether anybody is: not where `ROS_AUTOMATIC_DISCOVERY_RANGE` is `OFF`.
    pub discovers: bool,
    /// `ROS_DISTRO`, such as `jazzy`.
    pub distro: Option<String>,
    /// `RMW_IMPLEMENTATION`, such as `rmw_cyclonedds_cpp`.
    pub rmw: Option<String>,
    /// Variables that other nodes obey and we cannot; `doctor` and `run` name them.
    pub unsupported: Vec<&'static str>,
}

/// How far discovery goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This machine only, through the loopback interface.
    Localhost,
    /// Every network that the machine is on.
    Subnet,
}

/// An environment that cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// Not a domain.
    #[error("ROS_DOMAIN_ID is `{0}`; expected a number from 0 to {DOMAIN_ID_MAX}")]
    DomainId(String),
    /// Not a range that we know.
    #[error("ROS_AUTOMATIC_DISCOVERY_RANGE is `{0}`; expected SUBNET, LOCALHOST, OFF or SYSTEM_DEFAULT")]
    DiscoveryRange(String),
}

/// The highest domain whose ports lie below 65536 for every participant that discovery tries.
pub const DOMAIN_ID_MAX: u16 = 232;

/// Parts of the names of middlewares that speak DDS.
const SPEAK_DDS: [&str; 7] =
    ["fastrtps", "fastdds", "cyclonedds", "connext", "gurumdds", "opensplice", "coredx"];

impl Environment {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// If a variable has a value that means nothing, or that we cannot obey.
    pub fn from_process() -> Result<Self, EnvironmentError> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the variables that `lookup` knows.
    ///
    /// # Errors
    /// As [`Environment::from_process`].
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let domain_id = match lookup("ROS_DOMAIN_ID") {
            None => 0,
            Some(text) => match text.trim().parse() {
                Ok(id) if id <= DOMAIN_ID_MAX => id,
                _ => return Err(EnvironmentError::DomainId(text)),
            },
        };
        // The newer variable wins where both are set, as since Iron.
        let range = lookup("ROS_AUTOMATIC_DISCOVERY_RANGE");
        let discovers = range.as_deref() != Some("OFF");
        let reach = match range.as_deref() {
            Some("LOCALHOST" | "OFF") => Reach::Localhost,
            Some("SUBNET" | "SYSTEM_DEFAULT") => Reach::Subnet,
            Some(other) => return Err(EnvironmentError::DiscoveryRange(other.to_owned())),
            None if lookup("ROS_LOCALHOST_ONLY").as_deref() == Some("1") => Reach::Localhost,
            None => Reach::Subnet,
        };
        let unsupported = ["ROS_STATIC_PEERS", "ROS_DISCOVERY_SERVER", "ROS_SECURITY_ENABLE"]
            .into_iter()
            .filter(|name| lookup(name).is_some_and(|value| value != "false"))
            .collect();
        let (distro, rmw) = (lookup("ROS_DISTRO"), lookup("RMW_IMPLEMENTATION"));
        Ok(Self { domain_id, reach, discovers, distro, rmw, unsupported })
    }

    /// Why the other nodes of this environment will not be met, and what to do; in that order.
    pub fn apart(&self) -> Option<(String, &'static str)> {
        if !self.discovers {
            let cure = "unset it, or set it to LOCALHOST or SUBNET";
            return Some(("ROS_AUTOMATIC_DISCOVERY_RANGE is OFF: no other node is met".to_owned(), cure));
        }
        let rmw = self.rmw.as_deref()?;
        if SPEAK_DDS.iter().any(|vendor| rmw.contains(vendor)) {
            return None;
        }
        let cure = "run the other nodes with RMW_IMPLEMENTATION=rmw_cyclonedds_cpp or rmw_fastrtps_cpp";
        let what = match rmw.contains("zenoh") {
            true => "the other nodes speak Zenoh, this program DDS: they will not meet".to_owned(),
            false => format!("RMW_IMPLEMENTATION is {rmw}: this program speaks DDS, and meets nodes that do"),
        };
        Some((what, cure))
    }

    /// Bytes of a `Gid` in the graph's own messages: 24 up to Humble, 16 since Iron and where no distribution is named.
    pub fn gid_bytes(&self) -> usize {
        match self.distro.as_deref() {
            Some("dashing" | "eloquent" | "foxy" | "galactic" | "humble") => 24,
            _ => 16,
        }
    }
}

impl Reach {
    /// The only addresses to announce, or `None` for all of them.
    pub fn networks(self) -> Option<[IpAddr; 1]> {
        match self {
            Reach::Localhost => Some([IpAddr::V4(Ipv4Addr::LOCALHOST)]),
            Reach::Subnet => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        Environment::read(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn an_empty_environment_is_domain_zero_on_every_network() {
        let environment = read(&[]).unwrap();
        assert_eq!(
            (environment.domain_id, environment.reach, environment.gid_bytes()),
            (0, Reach::Subnet, 16)
        );
    }

    #[test]
    fn both_generations_of_variables_count() {
        assert_eq!(read(&[("ROS_LOCALHOST_ONLY", "1")]).unwrap().reach, Reach::Localhost);
        assert_eq!(read(&[("ROS_LOCALHOST_ONLY", "0")]).unwrap().reach, Reach::Subnet);
        let both = [("ROS_LOCALHOST_ONLY", "1"), ("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")];
        assert_eq!(read(&both).unwrap().reach, Reach::Subnet);
        assert_eq!(read(&[("ROS_DISTRO", "humble")]).unwrap().gid_bytes(), 24);
        assert_eq!(read(&[("ROS_DISTRO", "lyrical"), ("ROS_DOMAIN_ID", "42")]).unwrap().gid_bytes(), 16);
        assert_eq!(read(&[("ROS_STATIC_PEERS", "10.0.0.2")]).unwrap().unsupported, ["ROS_STATIC_PEERS"]);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["-1", "233", "99999", "one"] {
            assert_eq!(read(&[("ROS_DOMAIN_ID", bad)]), Err(EnvironmentError::DomainId(bad.into())));
        }
        assert!(read(&[("ROS_AUTOMATIC_DISCOVERY_RANGE", "FAR")]).is_err());
    }

    #[test]
    fn who_will_not_be_met_is_said() {
        let off = read(&[("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")]).unwrap();
        assert_eq!((off.reach, off.discovers), (Reach::Localhost, false));
        assert!(off.apart().unwrap().0.contains("OFF"));
        let zenoh = read(&[("RMW_IMPLEMENTATION", "rmw_zenoh_cpp")]).unwrap();
        assert!(zenoh.discovers && zenoh.apart().unwrap().0.contains("Zenoh"));
        for spoken in ["rmw_fastrtps_cpp", "rmw_cyclonedds_cpp", "rmw_connextdds"] {
            assert_eq!(read(&[("RMW_IMPLEMENTATION", spoken)]).unwrap().apart(), None);
        }
        let other = read(&[("RMW_IMPLEMENTATION", "rmw_iceoryx_cpp")]).unwrap();
        assert!(other.apart().unwrap().0.contains("rmw_iceoryx_cpp"));
    }
}
