//! What a plan of TensorRT-RTX's does, as far as its text tells: kernels, scratch memory, and whether it copies caches or weights.
//!
//! A plan holds its program in plain words, one line for each kernel. That is documented nowhere and may change with any version: so
//! this is a lint, which shows where a new version or a changed lowering does worse, and no contract. A plan without such text is a
//! finding too.
//!
//! A product that is made when a plan is opened, with what stands before and behind it, is one kernel (`runtime_fusion`); what it is made of
//! stands in the text as a program of its own, for no GPU, and does not count.
//!
//! A kernel whose name is made of nothing but movements (`ReshTran`, `MoveReplConc`) and that reads a cache or a weight copies it. Programs that only
//! prepare constants run once, when a plan is opened, and do not count.

use std::collections::HashSet;

/// One kernel of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As the plan names it: `__myl_` and the operations that it is made of, four letters each; or of a library's.
    pub name: String,
    /// What it reads and writes, by the plan's names: an input's own with a number behind it.
    pub arguments: Vec<String>,
}

/// What one GPU is told to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// `sm86`, …
    pub target: String,
    /// In the order of the text.
    pub kernels: Vec<Kernel>,
    /// Device memory beside inputs, outputs and constants; parts that run one after the other have the same.
    pub scratch_bytes: u64,
}

/// What a plan is held to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Of each program.
    pub kernels_max: usize,
    /// Of each program.
    pub scratch_bytes_max: u64,
    /// Inputs that no kernel may copy: caches, tables, matrices.
    pub kept: Vec<String>,
    /// So many kernels of attention there are, if that is asked.
    pub n_attentions: Option<usize>,
}

impl Kernel {
    /// Whether it is attention whole.
    pub fn is_attention(&self) -> bool {
        self.name.contains("mha")
    }

    /// Whether it moves elements and does nothing else with them.
    pub fn only_moves(&self) -> bool {
        const MOVES: [&str; 8] = ["Resh", "Tran", "Move", "Repl", "Conc", "Slic", "Cast", "Iota"];
        let Some(mut left) = self.name.strip_prefix("__myl_") else { return false };
        while let Some(rest) = MOVES.iter().find_map(|word| left.strip_prefix(word)) {
            left = rest;
        }
        left.is_empty()
    }

    fn reads(&self, input: &str) -> bool {
        self.arguments.iter().any(|argument| {
            let after = argument.strip_prefix(input).and_then(|rest| rest.strip_prefix('.'));
            after.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
        })
    }

    /// Whether it prepares a constant.
    fn is_of_constants(&self) -> bool {
        self.arguments.last().is_some_and(|written| written.contains("dconst") || written.contains("_move."))
    }
}

/// The target of a program that is the inside of a kernel.
const FUSED: &str = "*";

/// What a plan tells each GPU to do, without what only prepares constants. A plan may do so in several parts, which are joined here.
pub fn programs(plan: &[u8]) -> Vec<Program> {
    let mut programs: Vec<Program> = Vec::new();
    for line in plan.split(|b| *b == b'\n') {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_start();
        // What stands before it on its line are other bytes of the plan.
        if line.ends_with("header {") {
            programs.push(Program::default());
        }
        let Some(program) = programs.last_mut() else { continue };
        if let Some(kernel) = kernel(line) {
            program.kernels.push(kernel);
        } else if let Some(rest) = line.strip_prefix("accelerators={") {
            program.target = rest.trim_end_matches('}').trim().to_owned();
        } else if let Some(rest) = line.strip_prefix("region = { name=devmem") {
            let size = rest.split_once("size=").and_then(|(_, size)| size.split(' ').next());
            let bytes = size.and_then(|size| size.parse::<u64>().ok()).unwrap_or(0);
            program.scratch_bytes = program.scratch_bytes.saturating_add(bytes);
        }
    }
    programs.retain(|p| p.target != FUSED && p.kernels.iter().any(|kernel| !kernel.is_of_constants()));
    let mut joined: Vec<Program> = Vec::new();
    for part in programs {
        match joined.iter_mut().find(|program| program.target == part.target) {
            Some(program) => {
                program.kernels.extend(part.kernels);
                program.scratch_bytes = program.scratch_bytes.max(part.scratch_bytes);
            }
            None => joined.push(part),
        }
    }
    joined
}

fn kernel(line: &str) -> Option<Kernel> {
    if let Some(rest) = line.strip_prefix("function={ name=") {
        let name = rest.split(' ').next()?.to_owned();
        let arguments = quoted(rest.split_once(" args={")?.1.split_once('}')?.0);
        return Some(Kernel { name, arguments });
    }
    let list_of = |rest: &str, key: &str| -> Vec<String> {
        let found = rest.split_once(key).and_then(|(_, list)| list.split_once('}'));
        found.map_or_else(Vec::new, |(list, _)| quoted(list))
    };
    if let Some(rest) = line.strip_prefix("runtime_fusion={ name=") {
        let name = rest.split(' ').next()?.to_owned();
        let arguments = [list_of(rest, " input_args={"), list_of(rest, " output_args={")].concat();
        return Some(Kernel { name, arguments });
    }
    let rest = line.strip_prefix("fully_connected={ name=")?;
    // Names of layers are quoted and may hold anything but a quote.
    let list = |key: &str| list_of(rest, key);
    let (mut arguments, outputs) = (list(" input={"), list(" output={"));
    arguments.extend(outputs);
    Some(Kernel { name: "fully_connected".into(), arguments })
}

fn quoted(list: &str) -> Vec<String> {
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What a plan does that its budget does not allow, each in a line; nothing if all is well.
pub fn lint(plan: &[u8], budget: &Budget) -> Vec<String> {
    let programs = programs(plan);
    if programs.is_empty() {
        return vec!["holds no text of a program, so that nothing could be looked at".into()];
    }
    let mut findings = Vec::new();
    for program in &programs {
        let mut find = |what: String| findings.push(format!("{}: {what}", program.target));
        if budget.kernels_max < program.kernels.len() {
            find(format!("{} kernels, at most {}", program.kernels.len(), budget.kernels_max));
        }
        if budget.scratch_bytes_max < program.scratch_bytes {
            find(format!("{} bytes of scratch, at most {}", program.scratch_bytes, budget.scratch_bytes_max));
        }
        let attentions = program.kernels.iter().filter(|kernel| kernel.is_attention()).count();
        if let Some(expected) = budget.n_attentions.filter(|n| *n != attentions) {
            find(format!("{attentions} kernels of attention, expected {expected}"));
        }
        let mut copied = HashSet::new();
        for kernel in program.kernels.iter().filter(|kernel| kernel.only_moves()) {
            for input in budget.kept.iter().filter(|input| kernel.reads(input)) {
                if copied.insert(input) {
                    find(format!("`{}` copies input `{input}`", kernel.name));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of its own, by the grammar of those that plans have.
    fn plan(kernels: &[&str], scratch: &[u64]) -> Vec<u8> {
        let mut text = b"\x00\x7f\xffvtrt header {\n  version = 5\n".to_vec();
        for (i, size) in scratch.iter().enumerate() {
            text.extend(format!("  region = {{ name=devmem_{i} size={size} place=accelerator }}\n").bytes());
        }
        text.extend(
            b"  region = { name=x-consts size=99999 constant=true }\n  accelerators={sm86 }\ndescriptors {\n",
        );
        for kernel in kernels {
            text.extend(format!("  {kernel}\n").bytes());
        }
        text.extend(b"\x00\x01 the rest\n");
        text
    }

    const IN_PLACE: &str = r#"function={ name=__myl_MoveReshScatAdd fqn=f args={ "k_out.1" "k.1" "k_out.1" } input_args={ "k.1" } }"#;
    const ATTENTION: &str =
        r#"function={ name=_gemv_mha_v1 fqn=f args={ "k_out.1" "q.1" "y.1" } kernel_kind=6 }"#;
    const PRODUCT: &str = r#"fully_connected={ name="a } b" output={"y.1" } input={"x.1" "w.1" } stream=0 }"#;
    const COPY: &str =
        r#"function={ name=__myl_ReshTran fqn=f args={ "layers.0.key@past.1" "proxy" "__tran3" } }"#;
    const SUM: &str =
        r#"function={ name=__myl_ReshCastMulSum fqn=f args={ "layers.0.key@past.1" "q.1" "s" } }"#;

    fn budget() -> Budget {
        Budget {
            kernels_max: 3,
            scratch_bytes_max: 100,
            kept: vec!["layers.0.key@past".into(), "k_out".into()],
            n_attentions: Some(1),
        }
    }

    #[test]
    fn a_plan_within_its_budget_has_no_findings() {
        let plan = plan(&[IN_PLACE, PRODUCT, ATTENTION], &[60, 40]);
        let read = programs(&plan);
        assert_eq!((read.len(), read[0].target.as_str(), read[0].scratch_bytes), (1, "sm86", 100));
        assert_eq!(read[0].kernels[1].arguments, ["x.1", "w.1", "y.1"]);
        assert_eq!(lint(&plan, &budget()), [""; 0]);
        let twice = [&plan[..], &plan[..]].concat();
        assert_eq!((programs(&twice).len(), programs(&twice)[0].kernels.len()), (1, 6), "parts are joined");
        assert_eq!(programs(&twice)[0].scratch_bytes, 100);
    }

    #[test]
    fn what_is_planted_is_found() {
        for (kernels, scratch, expected) in [
            (&[SUM, ATTENTION, COPY][..], 1, &["`__myl_ReshTran` copies input `layers.0.key@past`"][..]),
            (&[SUM, PRODUCT, PRODUCT], 1, &["0 kernels of attention, expected 1"]),
            (&[SUM, ATTENTION], 101, &["101 bytes of scratch, at most 100"]),
            (&[PRODUCT, PRODUCT, PRODUCT, ATTENTION], 1, &["4 kernels, at most 3"]),
            (&[COPY, COPY, COPY, COPY], 200, &["4 kernels", "200 bytes", "0 kernels of", "copies input"]),
        ] {
            let found = lint(&plan(kernels, &[scratch]), &budget());
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with("sm86: ") && found.contains(expected), "{found}");
            }
        }
    }

    #[test]
    fn constants_do_not_count_and_no_text_is_a_finding() {
        let constant =
            r#"function={ name=__myl_Tran fqn=f args={ "w_constantInt8.1" "__mye1_dconst___mye5.1" } }"#;
        assert_eq!(programs(&plan(&[constant], &[5])), []);
        for bytes in [&b""[..], b"garbage", b"header {\nfunction={ name=", &plan(&[constant], &[])] {
            assert!(lint(bytes, &budget())[0].contains("no text of a program"));
        }
    }

    #[test]
    fn a_fusion_is_one_kernel_and_its_inside_is_none() {
        const FUSION: &str = r#"runtime_fusion={ name=__myl_CastMulCastFc input_args={ "x.1" "w" } output_args={ "y.1" } backbone=gemm }"#;
        let whole = plan(&[PRODUCT, SUM], &[70]);
        let at = whole.windows(4).position(|part| part == b"sm86").expect("its target");
        let inside = [&whole[..at], b"*", &whole[at + 4..]].concat();
        let read = programs(&[plan(&[SUM, FUSION], &[50]), inside].concat());
        assert_eq!((read.len(), read[0].scratch_bytes), (1, 50));
        assert_eq!(read[0].kernels[1].name, "__myl_CastMulCastFc");
        assert_eq!(read[0].kernels[1].arguments, ["x.1", "w", "y.1"]);
    }

    #[test]
    fn movements_are_told_from_work() {
        let of = |name: &str| Kernel { name: name.into(), arguments: Vec::new() }.only_moves();
        assert!(of("__myl_ReshTran") && of("__myl_MoveReplConc") && of("__myl_Slic"));
        assert!(!of("__myl_ReshCastMulSum") && !of("_gemv_mha_v1") && !of("__myl_MoveScat"));
    }
}
