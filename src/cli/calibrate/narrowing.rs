//! From what was watched to what is written: a magnitude for each product, factors for groups of them, and which stay in 16 bits.

use std::collections::HashMap;

use anyhow::bail;

use crate::backend::tensorrt::products_alone;
use crate::backend::{ActivationScale, ActivationScales, Balance};
use crate::cli::progress::Progress;
use crate::container::hex;
use crate::engine::{Keeping, keeping};
use crate::graph::{Network, WeightId};
use crate::model::Model;
use crate::quantize::{
    Bits, Fit, Histogram, Method, Narrow, Smooth, Watched, each, errors, groups, products, smoothed,
};

/// How all products of a model become ones of eight bits.
pub(super) struct Narrowing {
    pub(super) method: Method,
    bits: Bits,
    /// Of those that were given other numbers than zeros.
    pub(super) products: Vec<Product>,
    /// Names of matrices whose products were given nothing.
    pub(super) unseen: Vec<String>,
    /// Names of those whose products were given nothing but zeros.
    pub(super) zeros: Vec<String>,
    pub(super) balances: Vec<Balance>,
    pub(super) keeping: Option<Keeping>,
}

/// One product.
pub(super) struct Product {
    pub(super) id: WeightId,
    pub(super) name: String,
    /// As the model has it.
    pub(super) plain: Given,
    /// Once it is balanced, if it is.
    pub(super) balanced: Option<BalancedProduct>,
}

/// What a balance makes of a product.
pub(super) struct BalancedProduct {
    pub(super) alpha: f32,
    /// By column.
    factors: Vec<f32>,
    pub(super) given: Given,
}

/// What a product is given.
#[derive(Clone, Copy, Default)]
pub(super) struct Given {
    /// Numbers.
    pub(super) n: u64,
    pub(super) largest: f32,
    pub(super) amax: f32,
    pub(super) fit: Fit,
    pub(super) sqnr_db_of_max: f64,
    /// Of the product in few bits, as a share of the true one.
    pub(super) error: f64,
}

impl Product {
    /// As it will be.
    pub(super) fn given(&self) -> &Given {
        self.balanced.as_ref().map_or(&self.plain, |balanced| &balanced.given)
    }

    /// In few bits: as it is, and balanced if it is.
    fn ways(&self, bits: Bits) -> Vec<Narrow> {
        let amax = |given: &Given| Some(given.amax).filter(|_| bits == Bits::Eight);
        let plain = Narrow { bits, factors: None, amax: amax(&self.plain) };
        let balanced = self.balanced.as_ref().map(|balanced| {
            let factors = Some(balanced.factors.clone());
            Narrow { bits, factors, amax: amax(&balanced.given) }
        });
        [plain].into_iter().chain(balanced).collect()
    }
}

impl Given {
    fn of(seen: &Histogram, amax: f32) -> Self {
        let (n, largest) = (seen.n(), seen.largest());
        let sqnr_db_of_max = seen.fit(largest).sqnr_db;
        Given { n, largest, amax, fit: seen.fit(amax), sqnr_db_of_max, error: 0.0 }
    }
}

impl Narrowing {
    /// Of a model that was watched.
    ///
    /// # Errors
    /// If a product was given what is no number.
    pub(super) fn of(model: &Model, watched: &Watched, method: Method) -> anyhow::Result<Self> {
        let (mut found, mut unseen, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
        for id in products(model.network()) {
            let (name, seen) = (name(model.network(), id), watched.of(id));
            check(model, &name, &seen)?;
            let Some(amax) = method.amax(&seen) else {
                let list = if seen.n() == 0 { &mut unseen } else { &mut zeros };
                list.push(name);
                continue;
            };
            found.push(Product { id, name, plain: Given::of(&seen, amax), balanced: None });
        }
        let (bits, balances, keeping) = (Bits::Eight, Vec::new(), None);
        Ok(Narrowing { method, bits, products: found, unseen, zeros, balances, keeping })
    }

    /// Finds factors for groups of products, and has what these are given counted anew.
    pub(super) fn smooth(&mut self, model: &Model, watched: &Watched, smooth: Smooth, threads: usize) {
        let (network, method) = (model.network(), self.method);
        self.bits = smooth.bits;
        let mut all = groups(network);
        // What was never reached, or has no magnitude, has nothing to be moved.
        let has_scale = |id: &WeightId| self.products.iter().any(|product| product.id == *id);
        all.retain(|group| group.multiplied.iter().all(has_scale));
        let progress = Progress::counting("balance");
        let told = |done: usize| progress.set(done as u64, all.len() as u64, "groups");
        let found = each(&all, threads, &told, |group| smoothed(group, model, watched, smooth, method));
        let mut divisors = HashMap::new();
        let names = |ids: &[WeightId]| -> Vec<String> { ids.iter().map(|id| name(network, *id)).collect() };
        for (group, smoothed) in all.iter().zip(found) {
            let Some(smoothed) = smoothed else { continue };
            let factors = group.by_column(&smoothed.factors);
            let alpha = smoothed.alpha;
            for product in self.products.iter_mut().filter(|product| group.multiplied.contains(&product.id)) {
                divisors.insert(product.id, factors.clone());
                let (factors, given) = (factors.clone(), Given::default());
                product.balanced = Some(BalancedProduct { alpha, factors, given });
            }
            let (divided, multiplied) = (names(&group.divided), names(&group.multiplied));
            self.balances.push(Balance { divided, multiplied, alpha, factors: smoothed.factors });
        }
        watched.again(divisors);
    }

    /// Takes up what was counted once more.
    ///
    /// # Errors
    /// If a product was given what is no number.
    pub(super) fn again(&mut self, model: &Model, watched: &Watched) -> anyhow::Result<()> {
        for product in &mut self.products {
            let Some(balanced) = &mut product.balanced else { continue };
            let seen = watched.of(product.id);
            check(model, &product.name, &seen)?;
            let Some(amax) = self.method.amax(&seen) else {
                bail!(
                    "{}: the product with `{}` was given numbers when the data was run, and none when it was run once more: does \
                     something write to the data? Run it again",
                    model.path().display(),
                    product.name
                );
            };
            balanced.given = Given::of(&seen, amax);
        }
        Ok(())
    }

    /// Finds how far products of few bits lie from the true ones.
    pub(super) fn compare(&mut self, model: &Model, watched: &Watched, threads: usize) {
        let progress = Progress::counting("compare");
        let total = self.products.len() as u64;
        let told = |done: usize| progress.set(done as u64, total, "products");
        let found = each(&self.products, threads, &told, |product| {
            errors(&model.tensor(product.id), watched.sample(product.id).rows(), &product.ways(self.bits))
        });
        for (product, errors) in self.products.iter_mut().zip(found) {
            product.plain.error = errors[0];
            if let Some(balanced) = &mut product.balanced {
                balanced.given.error = errors[1];
            }
        }
    }

    /// Finds which products of some parts are to be left in 16 bits.
    ///
    /// # Errors
    /// If a golden case cannot be run.
    pub(super) fn keep(&mut self, model: &Model, parts: &[String], threads: usize) -> anyhow::Result<()> {
        let (network, is_narrow) = (model.network(), products_alone(model.network()));
        let is_asked = |id: WeightId| parts.contains(&network.weights[id.index()].part);
        let narrow = self.products.iter().filter(|of| is_narrow[of.id.index()] && is_asked(of.id));
        let ways = narrow.map(|product| (product.id, product.ways(self.bits).pop().expect("one at least")));
        let progress = Progress::counting("keep");
        let told = |at: crate::export::Progress| progress.set(at.done, at.total, at.stage);
        self.keeping = Some(keeping(model, &ways.collect(), threads, &told)?);
        Ok(())
    }

    /// Whether what a product is given stays in 16 bits.
    pub(super) fn is_wide(&self, id: WeightId) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.wide.contains(&id))
    }

    /// What the file of scales says.
    pub(super) fn scales(&self, model: &Model) -> ActivationScales {
        let (wide, narrow): (Vec<&Product>, Vec<&Product>) =
            self.products.iter().partition(|product| self.is_wide(product.id));
        let scale = |product: &&Product| ActivationScale {
            weight: product.name.clone(),
            amax: product.given().amax,
            method: self.method.to_string(),
        };
        ActivationScales::balanced(
            &hex(&model.digest()),
            narrow.iter().map(scale).collect(),
            self.balances.clone(),
            wide.iter().map(|product| product.name.clone()).collect(),
        )
    }
}

fn name(network: &Network, id: WeightId) -> String {
    network.weights[id.index()].name.clone()
}

fn check(model: &Model, weight: &str, seen: &Histogram) -> anyhow::Result<()> {
    if 0 < seen.not_finite() {
        bail!(
            "{}: what the product with `{weight}` is given has {} infinities or no numbers: the model itself is broken on this data",
            model.path().display(),
            seen.not_finite()
        );
    }
    Ok(())
}
