//! What the weights of an engine are stored as: one format for each weight, chosen by the part of the network that it is of.
//!
//! Parts (`vision`, `language`, …) are named by the model. Their formats are asked for when an engine is built
//! ([`FormatChoice`]) and listed in its manifest ([`PartFormats`]). Within a part one rule says which weights take its format:
//! matrices of products and tables of rows do; other elements, which are few and are used as they stand, are f32.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::parts::{CACHE_PART, formatted, parts, takes_format};
use crate::graph::{Graph, Network};
use crate::tensor::DType;

/// How a backend stores what an engine has of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storing {
    /// What weights may be stored as.
    pub formats: &'static [WeightFormat],
    /// Where the scales of formats stand that have some.
    pub scales: Scales,
    /// What caches of keys and values are kept in.
    pub caches: CacheFormat,
}

/// What a backend keeps caches of keys and values in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheFormat {
    /// In what is asked for, if it is one of these, whatever the weights are stored as; else in the first.
    AsAsked(&'static [WeightFormat]),
    /// In what the graphs compute that have them: as their weights, where those stand for themselves.
    OfWeights,
}

impl CacheFormat {
    /// What caches of a network are kept in, whose parts have these formats, if that is asked for: it counts only where weights leave
    /// it open.
    fn format(
        self,
        network: &Network,
        of_part: impl Fn(&str) -> Option<WeightFormat>,
        asked: Option<WeightFormat>,
    ) -> WeightFormat {
        let has_caches = |graph: &&Graph| graph.nodes.iter().any(|node| node.op.writes().next().is_some());
        let Some(graph) = network.graphs.iter().find(has_caches) else { return WeightFormat::F32 };
        if let CacheFormat::AsAsked(known) = self {
            return asked.filter(|asked| known.contains(asked)).unwrap_or(known[0]);
        }
        let of_weights = formatted(graph).filter_map(|id| of_part(&network.weights[id.index()].part));
        let of_weights: Vec<WeightFormat> = of_weights.collect();
        let computed = of_weights.iter().copied().find(|format| format.is_float());
        match of_weights.first() {
            None => WeightFormat::F32,
            Some(_) => computed.or(asked.filter(|asked| asked.is_float())).unwrap_or(WeightFormat::F16),
        }
    }

    /// Why caches that are kept so cannot be had as they were asked for.
    fn refused(self, asked: WeightFormat, kept: WeightFormat) -> FormatError {
        let kept = match self {
            CacheFormat::AsAsked(known) => {
                known.iter().map(|format| format.name()).collect::<Vec<_>>().join(" or ")
            }
            CacheFormat::OfWeights => kept.to_string(),
        };
        FormatError::Cache { asked, kept }
    }
}

/// How the elements of a weight are stored, from the finest to the coarsest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightFormat {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16, rounded to nearest even.
    F16,
    /// The upper half of binary32, rounded to nearest even.
    Bf16,
    /// Whole numbers of 8 bits with scales: of blocks on the CPU, of rows on TensorRT.
    Int8,
    /// Floats of 8 bits, E4M3, with one scale.
    Fp8,
    /// Whole numbers of 4 bits with scales of blocks.
    Int4,
    /// Floats of 4 bits, E2M1, with scales of blocks and a scale of those.
    Nvfp4,
}

/// Where the scales of a format stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scales {
    /// It has none.
    None,
    /// Each before the block that it is of.
    InBlocks,
    /// By themselves.
    Apart,
}

impl WeightFormat {
    /// All that have a name, from the finest to the coarsest. Each backend stores some of them.
    pub const ALL: [WeightFormat; 7] = [
        WeightFormat::F32,
        WeightFormat::F16,
        WeightFormat::Bf16,
        WeightFormat::Int8,
        WeightFormat::Fp8,
        WeightFormat::Int4,
        WeightFormat::Nvfp4,
    ];

    /// As the command line and manifests name it.
    pub fn name(self) -> &'static str {
        match self {
            WeightFormat::F32 => "f32",
            WeightFormat::F16 => "f16",
            WeightFormat::Bf16 => "bf16",
            WeightFormat::Int8 => "int8",
            WeightFormat::Fp8 => "fp8",
            WeightFormat::Int4 => "int4",
            WeightFormat::Nvfp4 => "nvfp4",
        }
    }

    /// Whether its numbers stand for themselves, so that values can be computed in it; others stand for numbers by their scales.
    pub fn is_float(self) -> bool {
        matches!(self, WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16)
    }

    /// Whether it holds every number of a type.
    pub fn holds(self, dtype: DType) -> bool {
        match self {
            WeightFormat::F32 => matches!(dtype, DType::F32 | DType::F16 | DType::Bf16),
            WeightFormat::F16 => dtype == DType::F16,
            WeightFormat::Bf16 => dtype == DType::Bf16,
            WeightFormat::Int8 | WeightFormat::Fp8 | WeightFormat::Int4 | WeightFormat::Nvfp4 => false,
        }
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WeightFormat {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let found = WeightFormat::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| FormatError::Unknown { found: text.to_owned(), known: listed(WeightFormat::ALL) })
    }
}

/// Why weights cannot be stored as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// No format has this name.
    #[error("no weight format is named `{found}`; there are {known}")]
    Unknown {
        /// What was asked for.
        found: String,
        /// Those that there are.
        known: String,
    },
    /// The network has no such part.
    #[error("no part is named `{found}`; there are {known}")]
    Part {
        /// What was asked for.
        found: String,
        /// Those that there are.
        known: String,
    },
    /// A part, or the rest of them, was given two formats.
    #[error("{0} is given two formats")]
    Twice(String),
    /// The backend does not store it.
    #[error("this backend does not store weights as {format}, which is asked for {part}; it stores {known}")]
    Unsupported {
        /// What was asked for.
        format: WeightFormat,
        /// Of which part.
        part: String,
        /// What the backend has.
        known: String,
    },
    /// Caches have one format.
    #[error("caches (`{CACHE_PART}`) are kept in {kept} by this backend, not in {asked}")]
    Cache {
        /// What was asked for.
        asked: WeightFormat,
        /// What there is.
        kept: String,
    },
    /// What a manifest lists is not what its network has.
    #[error("formats should be listed for {expected}, they are for {found}")]
    Listed {
        /// The network's parts.
        expected: String,
        /// Those of the list, or what is wrong with one.
        found: String,
    },
}

/// What is asked for: one format for all parts, another for some. Written as `bf16`, `vision=bf16`, or `bf16,head=f32`; parts
/// that are not named are f32, unless a format stands alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatChoice {
    rest: Option<WeightFormat>,
    parts: Vec<(String, WeightFormat)>,
}

impl From<WeightFormat> for FormatChoice {
    fn from(rest: WeightFormat) -> Self {
        FormatChoice { rest: Some(rest), parts: Vec::new() }
    }
}

impl FromStr for FormatChoice {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let mut choice = FormatChoice { rest: None, parts: Vec::new() };
        for item in text.split(',') {
            let Some((part, format)) = item.split_once('=') else {
                if choice.rest.replace(item.parse()?).is_some() {
                    return Err(FormatError::Twice("the rest".to_owned()));
                }
                continue;
            };
            if choice.parts.iter().any(|(known, _)| known == part) {
                return Err(FormatError::Twice(format!("part `{part}`")));
            }
            choice.parts.push((part.to_owned(), format.parse()?));
        }
        Ok(choice)
    }
}

impl FormatChoice {
    /// With another format than f32 for parts that are not named.
    #[must_use]
    pub fn otherwise(self, rest: WeightFormat) -> Self {
        FormatChoice { rest: self.rest.or(Some(rest)), ..self }
    }

    /// The format of each part of a network, on a backend that stores numbers so.
    ///
    /// # Errors
    /// If the network has no such part, or the backend does not store such a format.
    pub fn of_parts(&self, network: &Network, storing: &Storing) -> Result<PartFormats, FormatError> {
        let parts = parts(network);
        if let Some((found, _)) = self.parts.iter().find(|(name, _)| !parts.contains(&name.as_str())) {
            let known = if parts.is_empty() { "none".to_owned() } else { listed(parts) };
            return Err(FormatError::Part { found: found.clone(), known });
        }
        let asked = |part: &str| self.parts.iter().find(|(name, _)| name == part).map(|(_, format)| *format);
        let of_weights = |part: &str| asked(part).or(self.rest).unwrap_or(WeightFormat::F32);
        let format_of = |part: &str| {
            if part != CACHE_PART {
                return Ok(of_weights(part));
            }
            let kept = storing.caches.format(network, |part| Some(of_weights(part)), asked(part));
            match asked(part) {
                Some(asked) if asked != kept => Err(storing.caches.refused(asked, kept)),
                _ => Ok(kept),
            }
        };
        let of_part = |part: &str| {
            let format = format_of(part)?;
            if part != CACHE_PART && !storing.formats.contains(&format) {
                let known = listed(storing.formats.iter().copied());
                return Err(FormatError::Unsupported { format, part: format!("`{part}`"), known });
            }
            let scales = if format.is_float() { Scales::None } else { storing.scales };
            Ok(PartFormat { part: part.to_owned(), format, scales })
        };
        Ok(PartFormats(parts.into_iter().map(of_part).collect::<Result<_, _>>()?))
    }
}

/// The format of one part, as a manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartFormat {
    /// The part.
    pub part: String,
    /// What its matrices and tables are stored as.
    pub format: WeightFormat,
    /// Where their scales stand.
    pub scales: Scales,
}

/// The format of every part of a network, in the order in which they are declared.
///
/// Shown as one name where all weights agree, as `PART=FORMAT,…` otherwise; with what caches are kept in unless that is f32.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartFormats(Vec<PartFormat>);

impl PartFormats {
    /// The format of each weight of the network, by the rule of this module.
    ///
    /// # Errors
    /// If the parts are not the network's, or one is not as its format has it.
    pub fn of_weights(&self, network: &Network) -> Result<Vec<WeightFormat>, FormatError> {
        let expected = parts(network);
        let wrong = |found: String| FormatError::Listed { expected: listed(&expected), found };
        if !self.0.iter().map(|p| p.part.as_str()).eq(expected.iter().copied()) {
            return Err(wrong(listed(self.0.iter().map(|p| &p.part))));
        }
        if let Some(p) = self.0.iter().find(|p| (p.scales == Scales::None) != p.format.is_float()) {
            return Err(wrong(format!("`{}` with the scales of another format than {}", p.part, p.format)));
        }
        if let Some(cache) = self.0.iter().find(|p| p.part == CACHE_PART && p.scales != Scales::None) {
            return Err(wrong(format!("`{CACHE_PART}` in {}, which has scales", cache.format)));
        }
        let takes_format = takes_format(network);
        let of_weight = |(weight, takes): (&crate::graph::Weight, bool)| {
            let of_part = self.0.iter().find(|p| p.part == weight.part).filter(|_| takes);
            of_part.map_or(WeightFormat::F32, |p| p.format)
        };
        Ok(network.weights.iter().zip(takes_format).map(of_weight).collect())
    }

    /// Whether scales and caches are listed as a backend keeps them.
    ///
    /// # Errors
    /// If a list says otherwise.
    pub fn check(&self, network: &Network, storing: &Storing) -> Result<(), FormatError> {
        if let Some(p) = self.0.iter().find(|p| ![Scales::None, storing.scales].contains(&p.scales)) {
            let found = format!("`{}` in {} with scales where this backend has none", p.part, p.format);
            return Err(FormatError::Listed { expected: listed(parts(network)), found });
        }
        let of_part = |part: &str| self.0.iter().find(|p| p.part == part).map(|p| p.format);
        let kept = storing.caches.format(network, of_part, of_part(CACHE_PART));
        match of_part(CACHE_PART) {
            Some(asked) if asked != kept => Err(storing.caches.refused(asked, kept)),
            _ => Ok(()),
        }
    }

    /// What caches of keys and values are kept in, if the network has any.
    pub fn caches(&self) -> Option<WeightFormat> {
        self.0.iter().find(|p| p.part == CACHE_PART).map(|p| p.format)
    }

    /// Each part and its format.
    pub fn list(&self) -> &[PartFormat] {
        &self.0
    }
}

impl fmt::Display for PartFormats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weights: Vec<&PartFormat> = self.0.iter().filter(|p| p.part != CACHE_PART).collect();
        let Some(first) = weights.first() else { return f.write_str(WeightFormat::F32.name()) };
        if weights.iter().all(|p| p.format == first.format) {
            f.write_str(first.format.name())?;
        } else {
            for (i, PartFormat { part, format, .. }) in weights.into_iter().enumerate() {
                write!(f, "{}{part}={format}", if i == 0 { "" } else { "," })?;
            }
        }
        match self.caches() {
            Some(caches) if caches != WeightFormat::F32 => write!(f, ",{CACHE_PART}={caches}"),
            _ => Ok(()),
        }
    }
}

/// The coarsest format that does not hold all weights that are stored in it, if there is such a one: what explains that an
/// engine's outputs are not quite the model's.
pub fn coarsest_rounding(network: &Network, formats: &[WeightFormat]) -> Option<WeightFormat> {
    let stored = network.weights.iter().zip(formats).zip(takes_format(network));
    let rounded = stored.filter(|((weight, format), takes)| *takes && !format.holds(weight.dtype));
    rounded.map(|((_, format), _)| *format).max()
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn listed(names: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Dim, GraphBuilder, Op, Purpose};

    /// `x W + b` and the rows of a table in `language`, a matrix in `vision`, and one cache.
    fn network() -> Network {
        let mut network = Network::default();
        let declare = |network: &mut Network, name: &str, shape: &[usize], purpose| {
            network.declare_buffer(name, DType::F32, shape, purpose)
        };
        let x = declare(&mut network, "x", &[4, 1, 16], Purpose::Input);
        let caches = ["k", "v"].map(|name| declare(&mut network, name, &[4, 1, 16], Purpose::Cache));
        let y = declare(&mut network, "y", &[4, 16], Purpose::Output);
        let ids = network.declare_buffer("ids", DType::I32, &[4], Purpose::Input);
        let mut graph = GraphBuilder::new(&mut network, "main");
        let n = Dim::Fixed(1);
        let past = graph.dim("past", 0, 3, 1);
        let table = graph.network.declare_weight("language", "table", DType::F16, &[9, 16]);
        let ids = graph.read(ids, n);
        let rows = graph.add(Op::Embedding { weight: table }, &[ids]);
        let matrix = graph.network.declare_weight("vision", "matrix", DType::Bf16, &[16, 16]);
        let bias = graph.network.declare_weight("vision", "bias", DType::F32, &[16]);
        let value = graph.linear(rows, matrix, Some(bias));
        let x = graph.read(x, n);
        let [key_cache, value_cache] = caches;
        let attention = Op::CachedAttention { key_cache, value_cache, past, scale: 1.0 };
        let attended = graph.add(attention, &[x, x, x]);
        let attended = graph.reshape(attended, &[n, 16.into()]);
        let value = graph.add(Op::Binary { function: crate::graph::Binary::Add }, &[value, attended]);
        graph.write(y, value);
        graph.finish();
        network
    }

    const STORING: Storing = Storing {
        formats: &[WeightFormat::F32, WeightFormat::Bf16],
        scales: Scales::InBlocks,
        caches: CacheFormat::AsAsked(&[WeightFormat::F32, WeightFormat::Bf16]),
    };

    fn of_parts(text: &str) -> Result<PartFormats, FormatError> {
        text.parse::<FormatChoice>()?.of_parts(&network(), &STORING)
    }

    #[test]
    fn each_weight_has_the_format_of_its_part_unless_it_is_used_as_it_stands() {
        use WeightFormat::{Bf16, F32};
        for (asked, shown, weights) in [
            ("f32", "f32", [F32, F32, F32]),
            ("bf16", "bf16", [Bf16, Bf16, F32]),
            ("vision=bf16", "language=f32,vision=bf16", [F32, Bf16, F32]),
            ("bf16,vision=f32,kv=f32", "language=bf16,vision=f32", [Bf16, F32, F32]),
            ("vision=bf16,language=bf16", "bf16", [Bf16, Bf16, F32]),
            ("f32,kv=bf16", "f32,kv=bf16", [F32, F32, F32]),
        ] {
            let formats = of_parts(asked).unwrap();
            assert_eq!(formats.to_string(), shown, "{asked}");
            assert_eq!(formats.of_weights(&network()).unwrap(), weights, "{asked}");
            let text = serde_json::to_string(&formats).unwrap();
            assert_eq!(serde_json::from_str::<PartFormats>(&text).unwrap(), formats, "{text}");
            let caches = if asked.ends_with("kv=bf16") { "bf16" } else { "f32" };
            let listed = format!(r#"{{"part":"kv","format":"{caches}","scales":"none"}}"#);
            assert!(text.contains(&listed), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name_with_what_there_is() {
        for (asked, words) in [
            ("f8", &["`f8`", "f32, f16, bf16, int8, fp8, int4 and nvfp4"][..]),
            ("", &["``", "f32, f16, bf16"]),
            ("vision=", &["``", "f32, f16, bf16"]),
            ("sight=bf16", &["`sight`", "language, vision and kv"]),
            ("vision=int8", &["int8", "`vision`", "f32 and bf16"]),
            ("int4", &["int4", "`language`", "f32 and bf16"]),
            ("kv=f16", &["`kv`", "kept in f32 or bf16", "not in f16"]),
            ("f32,bf16", &["the rest", "two formats"]),
            ("vision=f32,vision=f32", &["`vision`", "two formats"]),
        ] {
            let refused = of_parts(asked).unwrap_err().to_string();
            for word in words {
                assert!(refused.contains(word), "{asked}: {refused:?} lacks {word:?}");
            }
        }
    }

    #[test]
    fn caches_are_kept_as_the_backend_keeps_them() {
        let kept = |asked: &str, caches| {
            let choice = asked.parse::<FormatChoice>()?;
            let formats =
                choice.of_parts(&network(), &Storing { formats: &WeightFormat::ALL, caches, ..STORING })?;
            formats.of_weights(&network())?;
            Ok::<_, FormatError>(formats.list().last().expect("kv").format)
        };
        use WeightFormat::{Bf16, F16, F32, Int4};
        for asked in ["bf16", "language=bf16,kv=bf16", "bf16,vision=f32"] {
            assert_eq!(kept(asked, CacheFormat::OfWeights), Ok(Bf16), "{asked}");
        }
        assert_eq!(kept("vision=bf16", CacheFormat::OfWeights), Ok(F32), "the first weight is of `language`");
        let as_asked = CacheFormat::AsAsked(&[F32, Bf16]);
        for (asked, expected) in
            [("bf16", F32), ("int4,kv=bf16", Bf16), ("kv=bf16", Bf16), ("bf16,kv=f32", F32)]
        {
            assert_eq!(kept(asked, as_asked), Ok(expected), "{asked}");
        }
        let refused = kept("bf16,kv=f32", CacheFormat::OfWeights);
        assert_eq!(refused, Err(FormatError::Cache { asked: F32, kept: "bf16".into() }));
        // Of weights that nothing is computed in, the other weights of the graph say what is; or else whoever asks for it.
        for (asked, expected) in [("int4", F16), ("int4,kv=bf16", Bf16), ("language=int4,vision=bf16", Bf16)]
        {
            assert_eq!(kept(asked, CacheFormat::OfWeights), Ok(expected), "{asked}");
        }
        let refused = kept("int4,kv=int4", CacheFormat::OfWeights);
        assert_eq!(refused, Err(FormatError::Cache { asked: Int4, kept: "f16".into() }));
    }

    #[test]
    fn a_list_that_is_not_the_networks_is_refused() {
        let formats = of_parts("bf16").unwrap();
        let refused = |change: &dyn Fn(&mut Vec<PartFormat>)| {
            let mut other = formats.clone();
            change(&mut other.0);
            other.of_weights(&network()).unwrap_err().to_string()
        };
        let short = refused(&|list| drop(list.remove(0)));
        assert!(short.contains("language, vision and kv") && short.contains("vision and kv"), "{short}");
        assert!(refused(&|list| list.swap(0, 1)).contains("vision, language and kv"));
        assert!(refused(&|list| list[1].scales = Scales::InBlocks).contains("`vision`"));
        let blocks = |list: &mut Vec<PartFormat>| {
            (list[2].format, list[2].scales) = (WeightFormat::Int8, Scales::InBlocks);
        };
        assert!(refused(&blocks).contains("`kv` in int8"));
        // What no backend keeps so is refused where it is known which.
        let mut list = formats.list().to_vec();
        list[2].format = WeightFormat::F16;
        let listed = PartFormats(list);
        for (caches, kept) in [(STORING.caches, "f32 or bf16"), (CacheFormat::OfWeights, "bf16")] {
            let refused = listed.check(&network(), &Storing { caches, ..STORING });
            assert_eq!(refused, Err(FormatError::Cache { asked: WeightFormat::F16, kept: kept.into() }));
        }
        assert_eq!(formats.check(&network(), &STORING), Ok(()));
        let mut list = formats.list().to_vec();
        (list[1].format, list[1].scales) = (WeightFormat::Int8, Scales::Apart);
        let apart = PartFormats(list);
        assert!(apart.of_weights(&network()).is_ok());
        assert!(apart.check(&network(), &STORING).unwrap_err().to_string().contains("`vision` in int8"));
    }

    #[test]
    fn the_coarsest_format_that_rounds_explains_the_error() {
        let rounding = |asked: &str| {
            coarsest_rounding(&network(), &of_parts(asked).unwrap().of_weights(&network()).unwrap())
        };
        assert_eq!(rounding("f32"), None);
        assert_eq!(rounding("vision=bf16"), None, "the matrix is bf16 in the model, its bias stays f32");
        assert_eq!(rounding("language=bf16"), Some(WeightFormat::Bf16), "the table is f16 in the model");
        let of = |formats: [WeightFormat; 3]| coarsest_rounding(&network(), &formats);
        use WeightFormat::{Bf16, F32, Int4, Int8};
        assert_eq!(of([Int8, Bf16, F32]), Some(Int8));
        assert_eq!(of([Bf16, Int4, F32]), Some(Int4));
        assert_eq!(of([F32, Bf16, Bf16]), None, "what is used as it stands is stored as it stands");
        assert!(WeightFormat::ALL.is_sorted());
    }
}
