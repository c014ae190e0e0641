//! A model becomes an engine: limits are set, weights packed, the result tried, and only then put in its place.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::manifest::{EngineManifest, ModelSource};
use super::{Engine, EngineError, GOLDEN, SCALES, SelfTest, TOKENIZER, digest, self_test};
use crate::backend::{
    ActivationScales, Backend, Difference, FormatChoice, Memory, OpenOptions, PartFormats, PlanTold,
    SectionSink, Stored, Told, backend, backend_for,
};
use crate::container::{ContainerError, Kind, SectionWriter, Untried, Writer, hex};
use crate::export::Progress;
use crate::graph::Network;
use crate::install::check_room;
use crate::model::{GoldenCase, Model};
use crate::quantize::Balanced;

/// What a model does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// Name of the backend.
    pub backend: String,
    /// What the weights are stored as.
    pub formats: FormatChoice,
    /// Limits by name, where they should differ from the model's.
    pub limits: Vec<(String, usize)>,
    /// How the built engine is tried.
    pub open: OpenOptions,
}

/// Which machine an engine is for, and what is known of its runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct For {
    /// A device, as the backend names it; none for this machine.
    pub target: Option<String>,
    /// Whether an engine is written that cannot be tried here: it is tried where it is opened.
    pub may_be_untried: bool,
    /// How large the model's activations become, for backends that make formats of fewer bits from it.
    pub scales: Option<Arc<ActivationScales>>,
}

/// What was built.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Length of the file.
    pub file_bytes: u64,
    /// The engine's digest, in hexadecimal digits.
    pub sha256: String,
    /// How it was tried; none if it could not be, and need not.
    pub tried: Option<Tried>,
}

/// What trying an engine has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// How the golden cases went.
    pub self_test: SelfTest,
    /// What a session claims.
    pub memory: Memory,
}

/// What a build tells while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum BuildTold<'a> {
    /// How far a stage is.
    Stage(Progress),
    /// How far a plan is.
    Plan(PlanTold<'a>),
    /// What the user should know, and is no failure.
    Note(&'a str),
}

/// Builds an engine for this machine and puts it at `out`, where nothing new lies unless it answered its golden cases.
///
/// # Errors
/// If the backend cannot be used or cannot compute the model, a limit is not to be had, the disk fails, or the engine
/// answers wrongly.
pub fn build(
    model: &Model,
    options: &BuildOptions,
    out: &Path,
    told: &mut dyn FnMut(BuildTold<'_>),
) -> Result<Summary, EngineError> {
    build_for(model, options, &For::default(), out, told)
}

/// As [`build`], for another machine too: what cannot be tried here is written only if that was asked for, and says of itself
/// that it was not tried.
///
/// # Errors
/// As [`build`]; and if the engine is for a machine on which it cannot be tried, before anything is made.
pub fn build_for(
    model: &Model,
    options: &BuildOptions,
    machine: &For,
    out: &Path,
    told: &mut dyn FnMut(BuildTold<'_>),
) -> Result<Summary, EngineError> {
    let failed = |source| EngineError::Backend { path: model.path().to_owned(), source };
    let builder = backend_for(&options.backend, machine.target.as_deref()).map_err(failed)?;
    let untriable = why_not_here(builder.as_ref());
    if let Some(why) = untriable.clone().filter(|_| !machine.may_be_untried) {
        return Err(EngineError::CannotTry { path: out.to_owned(), backend: options.backend.clone(), why });
    }
    let network = limited(model, &options.limits)?;
    let (formats, stored) = stored(model, &network, options, machine.scales.clone(), builder.as_ref())?;
    // The digests that the model's manifest vouches for: an engine of damaged weights must not be built.
    let mut stage = |stage, done, total| told(BuildTold::Stage(Progress { stage, done, total }));
    model.verify(|done, total| stage("checking the model", done, total))?;
    let is_tried = untriable.is_none();
    let weights = balanced(model, &network, machine.scales.as_ref())?;
    let untried = write(model, &weights, builder.as_ref(), (formats, &stored), is_tried, out, told)?;
    let engine = Engine::open(untried.path())?;
    let mut stage = |stage, done, total| told(BuildTold::Stage(Progress { stage, done, total }));
    let tried = if is_tried {
        stage("golden case", 0, 1);
        let mut session = engine.session(&options.open)?;
        let self_test = self_test(&engine, session.as_mut())?;
        stage("golden case", 1, 1);
        Some(Tried { self_test, memory: session.memory() })
    } else {
        None
    };
    let file_bytes = engine.container().file_bytes();
    let digest = untried.install()?;
    Ok(Summary { file_bytes, sha256: hex(&digest), tried })
}

/// Why an engine that a backend builds cannot be run on this machine, if it cannot.
fn why_not_here(builder: &dyn Backend) -> Option<String> {
    if let Err(why) = builder.check() {
        return Some(why.to_string());
    }
    let here = match backend(builder.name()) {
        Ok(here) => here.binding(),
        Err(why) => return Some(why.to_string()),
    };
    let Difference { field, expected, found } = here.difference(&builder.binding())?;
    Some(format!("it is built for {field} {found}, this machine has {expected}"))
}

/// The model's network under the limits that were asked for.
pub(super) fn limited(model: &Model, limits: &[(String, usize)]) -> Result<Network, EngineError> {
    let path = || model.path().to_owned();
    let mut network = model.network().clone();
    let asked: Vec<(&str, usize)> = limits.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    network.set_limits(&asked).map_err(|source| EngineError::Limits {
        path: path(),
        asked: limits.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", "),
        source,
    })?;
    // An engine that cannot run the smallest case answers nothing. One that is too small for a larger case never runs what it tries.
    match model.golden().first().and_then(|case| case.misfit(&network)) {
        Some(what) => Err(EngineError::TooSmall { path: path(), what }),
        None => Ok(network),
    }
}

/// The model's weights, with magnitude moved to them as scales say.
pub(super) fn balanced<'a>(
    model: &'a Model,
    network: &Network,
    scales: Option<&Arc<ActivationScales>>,
) -> Result<Balanced<'a>, EngineError> {
    let balances = scales.map_or(&[][..], |scales| &scales.balances);
    let wrong = |source| EngineError::Scales { path: model.path().to_owned(), source };
    Balanced::new(network, model, balances).map_err(wrong)
}

/// The formats that were asked for, by part, and what they mean to a backend that accepts them.
pub(super) fn stored(
    model: &Model,
    network: &Network,
    options: &BuildOptions,
    scales: Option<Arc<ActivationScales>>,
    backend: &dyn Backend,
) -> Result<(PartFormats, Stored), EngineError> {
    let wrong = |source| EngineError::Formats { path: model.path().to_owned(), source };
    let formats = options.formats.of_parts(network, &backend.storing()).map_err(wrong)?;
    let stored = Stored::new(&formats, network, scales).map_err(wrong)?;
    let accepted = backend.accepts(network, &stored);
    accepted.map_err(|source| EngineError::Backend { path: model.path().to_owned(), source })?;
    Ok((formats, stored))
}

fn write(
    model: &Model,
    weights: &Balanced<'_>,
    backend: &dyn Backend,
    (formats, stored): (PartFormats, &Stored),
    is_tried: bool,
    path: &Path,
    told: &mut dyn FnMut(BuildTold<'_>),
) -> Result<Untried, EngineError> {
    let failed = |source| EngineError::Backend { path: model.path().to_owned(), source };
    let network = weights.network().clone();
    let estimate = backend.estimate_bytes(&network, stored).unwrap_or(0);
    check_room(path, estimate).map_err(|source| ContainerError::Io { path: path.to_owned(), source })?;
    let mut file = Writer::create(path, Kind::Engine)?;
    let written = |done, total| BuildTold::Stage(Progress { stage: "weights", done, total });
    let hears = &mut |what: Told<'_>| match what {
        Told::Weights(done) => told(written(done, estimate.max(done))),
        Told::Plan(plan) => told(BuildTold::Plan(plan)),
        Told::Note(note) => told(BuildTold::Note(note)),
    };
    let mut sections = EngineSections { file: &mut file, failed: None };
    let built = backend.build(&network, weights, stored, &mut sections, hears);
    // The container's own error names the file; the backend has seen only that writing failed.
    if let Some(why) = sections.failed {
        return Err(why.into());
    }
    let total = built.map_err(failed)?;
    told(written(total, total));
    let golden = model.golden().iter().filter(|case| case.misfit(&network).is_none()).cloned();
    let (golden, golden_bytes) = GoldenCase::pack(&golden.collect::<Vec<_>>(), &network);
    file.add(GOLDEN, &golden_bytes)?;
    let scales = stored.scales.as_ref().map(|scales| scales.bytes());
    let of_model = model.manifest();
    let name = model.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let manifest = EngineManifest {
        written_by: concat!("perihelion ", env!("CARGO_PKG_VERSION")).to_owned(),
        model: ModelSource { name, sha256: hex(&model.digest()) },
        source: of_model.source.clone(),
        backend: backend.name().to_owned(),
        bound_to: backend.binding(),
        is_tried,
        formats,
        scales_sha256: scales.as_deref().map(digest),
        network,
        golden,
        roles: of_model.roles.clone(),
    };
    if let Some(scales) = &scales {
        file.add(SCALES, scales)?;
    }
    if manifest.has_tokenizer() {
        file.add(TOKENIZER, model.tokenizer()?)?;
    }
    Ok(file.close(&manifest)?)
}

/// The engine's file, as a backend writes sections to it.
struct EngineSections<'a> {
    file: &'a mut Writer,
    failed: Option<ContainerError>,
}

impl SectionSink for EngineSections<'_> {
    fn section(
        &mut self,
        name: &str,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let writer = match self.file.section(name) {
            Ok(writer) => writer,
            Err(why) => {
                self.failed = Some(why);
                return Err(unwritable());
            }
        };
        let mut section = Section { writer, failed: None };
        let filled = fill(&mut section);
        if section.failed.is_some() {
            self.failed = section.failed;
            return Err(unwritable());
        }
        filled?;
        section.writer.finish();
        Ok(())
    }
}

fn unwritable() -> io::Error {
    io::Error::other("the engine's file cannot be written")
}

/// A section as a backend writes it.
struct Section<'a> {
    writer: SectionWriter<'a>,
    failed: Option<ContainerError>,
}

impl Write for Section<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.writer.put(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(why) => {
                self.failed = Some(why);
                Err(unwritable())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
