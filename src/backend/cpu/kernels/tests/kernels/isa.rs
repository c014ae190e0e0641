//! Names of instruction sets.

use super::*;

#[test]
fn names_are_checked() {
    assert_eq!(Isa::named("portable"), Ok(Isa::Portable));
    assert!(matches!(Isa::named("sse9"), Err(IsaError::Unknown { .. })));
    let other = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    let message = Isa::named(other).unwrap_err().to_string();
    assert!(message.contains("portable"), "{message}");
}
