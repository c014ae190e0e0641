//! What a plan can be built for, as the command line names it.

use std::str::FromStr;

use super::shim::Target;
use crate::backend::BackendError;
use crate::board::DEVICES;

/// GPUs by name, or by their architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// As it was typed.
    name: String,
    /// Compute capabilities, as 86 for 8.6; none for the GPU of this machine, whatever it is.
    capabilities: Option<Vec<i32>>,
}

/// Ampere, Ada and Blackwell, as workstations have them.
const RTX: [i32; 3] = [86, 89, 120];

impl FromStr for Target {
    type Err = BackendError;

    /// Of names as `build` takes them, separated by commas.
    fn from_str(text: &str) -> Result<Target, BackendError> {
        let wanted = text.split(',').map(|name| Wanted::parse(name.trim())).collect::<Result<Vec<_>, _>>()?;
        if let [Wanted { capabilities: None, .. }] = wanted[..] {
            return Ok(Target::Current);
        }
        let mut all = Vec::new();
        for Wanted { name, capabilities } in wanted {
            let why = || BackendError::Target { why: format!("`{name}` stands alone, not in `{text}`") };
            all.extend(capabilities.ok_or_else(why)?);
        }
        all.sort_unstable();
        all.dedup();
        Ok(Target::Capabilities(all))
    }
}

impl Wanted {
    /// The GPU of this machine.
    pub(super) fn current() -> Wanted {
        Wanted { name: "current".into(), capabilities: None }
    }

    /// Of a name: a board's, `rtx`, `current`, or an architecture's, as `sm86`.
    ///
    /// # Errors
    /// Which names there are.
    pub(super) fn parse(name: &str) -> Result<Wanted, BackendError> {
        let of_board =
            || DEVICES.iter().find(|device| device.name == name).map(|device| device.gpu_architecture);
        let of_architecture = |name: &str| {
            let digits = name.strip_prefix("sm_").or_else(|| name.strip_prefix("sm"))?;
            digits.parse::<i32>().ok().filter(|sm| (50..=200).contains(sm))
        };
        let capabilities = match name {
            "current" => None,
            "rtx" => Some(RTX.to_vec()),
            _ => match of_board().and_then(of_architecture).or_else(|| of_architecture(name)) {
                Some(sm) => Some(vec![sm]),
                None => {
                    let boards: Vec<&str> = DEVICES.iter().map(|device| device.name).collect();
                    return Err(BackendError::Target {
                        why: format!(
                            "no target is named `{name}`; there are current, rtx, {} and architectures, as sm86",
                            boards.join(", ")
                        ),
                    });
                }
            },
        };
        Ok(Wanted { name: name.to_owned(), capabilities })
    }

    /// What TensorRT is asked for, with the GPU of this machine if there is one, and for which architectures that is. TensorRT-RTX
    /// builds for GPUs that are not there; TensorRT for its own machine's alone, of which the name then says what it should be.
    ///
    /// # Errors
    /// If there is no GPU, or it is another one.
    pub(super) fn resolve(
        &self,
        is_rtx: bool,
        library: &str,
        here: Result<i32, BackendError>,
    ) -> Result<(Target, Vec<i32>), BackendError> {
        match (&self.capabilities, is_rtx) {
            (Some(all), true) => Ok((Target::Capabilities(all.clone()), all.clone())),
            (None, _) => here.map(|sm| (Target::Current, vec![sm])),
            (Some(all), false) => {
                let elsewhere = |found: String| BackendError::Target {
                    why: format!(
                        "{library} builds for the GPU of its own machine, and `{}` is {}; {found}: build there",
                        self.name,
                        architectures(all)
                    ),
                };
                match here {
                    Ok(sm) if all[..] == [sm] => Ok((Target::Current, vec![sm])),
                    Ok(sm) => Err(elsewhere(format!("this machine has sm_{sm}"))),
                    Err(why) => Err(elsewhere(why.to_string())),
                }
            }
        }
    }
}

/// As an engine is bound to them: one of these.
pub(super) fn architectures(capabilities: &[i32]) -> String {
    capabilities.iter().map(|sm| format!("sm_{sm}")).collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_gpu() -> Result<i32, BackendError> {
        Err(BackendError::NoDevice { name: "tensorrt", why: "no driver".into() })
    }

    #[test]
    fn names_are_of_boards_workstations_and_architectures() {
        let of = |name: &str| Wanted::parse(name).map(|w| w.capabilities).map_err(|why| why.to_string());
        assert_eq!(of("current"), Ok(None));
        assert_eq!(of("orin-nano"), Ok(Some(vec![87])));
        assert_eq!(of("agx-orin"), of("orin-nx"));
        assert_eq!(of("thor"), Ok(Some(vec![110])));
        assert_eq!(of("rtx"), Ok(Some(vec![86, 89, 120])));
        assert_eq!((of("sm86"), of("sm_120")), (Ok(Some(vec![86])), Ok(Some(vec![120]))));
        for name in ["", "sm", "sm8", "sm-86", "sm_9999999999", "orin", "RTX"] {
            let why = of(name).unwrap_err();
            assert!(why.contains("current, rtx, orin-nano") && why.contains(&format!("`{name}`")), "{why}");
        }
    }

    #[test]
    fn tensorrt_builds_where_it_is_and_rtx_for_others_too() {
        let resolve = |name: &str, is_rtx, here: Result<i32, BackendError>| {
            let resolved = Wanted::parse(name).unwrap().resolve(is_rtx, "TensorRT 10.3.0", here);
            resolved.map(|(target, all)| (target, architectures(&all))).map_err(|why| why.to_string())
        };
        assert_eq!("sm120, rtx,sm86".parse::<Target>().unwrap(), Target::Capabilities(RTX.to_vec()));
        assert_eq!("current".parse::<Target>().unwrap(), Target::Current);
        for text in ["", "8.6", "sm86,", "sm5", "86"] {
            assert!(text.parse::<Target>().unwrap_err().to_string().contains("no target is named"), "{text}");
        }
        assert!("sm86,current".parse::<Target>().unwrap_err().to_string().contains("stands alone"));
        assert_eq!(resolve("sm86", true, no_gpu()), Ok((Target::Capabilities(vec![86]), "sm_86".into())));
        let rtx = (Target::Capabilities(RTX.to_vec()), "sm_86|sm_89|sm_120".into());
        assert_eq!(resolve("rtx", true, Ok(89)), Ok(rtx));
        assert_eq!(resolve("current", true, Ok(89)), Ok((Target::Current, "sm_89".into())));
        assert!(resolve("current", true, no_gpu()).unwrap_err().contains("no driver"));
        assert_eq!(resolve("orin-nano", false, Ok(87)), Ok((Target::Current, "sm_87".into())));
        let other = resolve("thor", false, Ok(87)).unwrap_err();
        assert!(other.contains("`thor` is sm_110") && other.contains("this machine has sm_87"), "{other}");
        let none = resolve("thor", false, no_gpu()).unwrap_err();
        assert!(none.contains("no driver") && none.contains("build there"), "{none}");
    }
}
