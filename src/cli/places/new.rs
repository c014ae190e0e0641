//! A folder that comes whole into a place where nothing lies.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::{Identity, absolute, check_writable, identity};
use crate::cli::Usage;
use crate::install::folder_of;

/// That the folder will lie outside of everything that is read, that nothing is in its place, and that it can be made there.
///
/// # Errors
/// A [`Usage`] if it is not so; another error if nothing can be made there.
pub(super) fn check(option: &str, path: &Path, inputs: &HashMap<Identity, &Path>) -> anyhow::Result<()> {
    let shown = path.display();
    let place = absolute(path);
    let outer = place.ancestors().filter_map(identity).find_map(|identity| inputs.get(&identity));
    if let Some(input) = outer {
        let input = input.display();
        let message = format!("{option} {shown} lies in {input}, which is read; name a place outside of it");
        return Err(Usage(message).into());
    }
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir()) {
        return Err(Usage(format!("{option} {shown} is a file; name a folder that is not there yet")).into());
    }
    if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Usage(format!("{option} {shown} is not empty; name another folder")).into());
    }
    // It is made beside its place.
    check_writable(option, folder_of(path))
}
