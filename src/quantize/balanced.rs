//! A network's weights with magnitude moved from what products are given to their matrices.
//!
//! Why weights and not the graph: networks stay written once, and no backend needs to know.

use std::collections::HashMap;

use super::Group;
use crate::backend::{Balance, ScalesError};
use crate::graph::{Network, WeightId, Weights};
use crate::tensor::{DType, TensorView};

/// Weights of which some are divided and multiplied by factors. Those are f32, whatever they were: what is moved is rounded once, when the
/// weight is stored. Takes memory for them.
pub struct Balanced<'a> {
    weights: &'a dyn Weights,
    network: Network,
    changed: HashMap<WeightId, Vec<u8>>,
}

impl<'a> Balanced<'a> {
    /// The weights of a network with these balances.
    ///
    /// # Errors
    /// If a balance is not of one of the network's groups: then the network would compute something else.
    pub fn new(
        network: &Network,
        weights: &'a dyn Weights,
        balances: &[Balance],
    ) -> Result<Self, ScalesError> {
        let of_network = groups_of(network, balances)?;
        let (mut rows, mut columns) = (HashMap::new(), HashMap::new());
        for (group, balance) in of_network.iter().zip(balances) {
            rows.extend(group.divided.iter().map(|id| (*id, &balance.factors[..])));
            let by_column = group.by_column(&balance.factors);
            columns.extend(group.multiplied.iter().map(|id| (*id, by_column.clone())));
        }
        let mut balanced = Balanced { weights, network: network.clone(), changed: HashMap::new() };
        for (i, declared) in balanced.network.weights.iter_mut().enumerate() {
            let id = WeightId(i as u32);
            let (divisors, factors) = (rows.get(&id), columns.get(&id));
            if divisors.is_none() && factors.is_none() {
                continue;
            }
            let mut values = weights.weight(id).to_f32();
            let row_len = declared.shape[1..].iter().product::<usize>().max(1);
            for (row, divisor) in values.chunks_mut(row_len).zip(divisors.into_iter().copied().flatten()) {
                row.iter_mut().for_each(|v| *v /= divisor);
            }
            if let Some(factors) = factors {
                let rows = values.chunks_mut(row_len);
                rows.for_each(|row| row.iter_mut().zip(factors).for_each(|(v, factor)| *v *= factor));
            }
            declared.dtype = DType::F32;
            balanced.changed.insert(id, values.iter().flat_map(|v| v.to_le_bytes()).collect());
        }
        Ok(balanced)
    }

    /// The network, whose changed weights are declared as f32.
    pub fn network(&self) -> &Network {
        &self.network
    }
}

impl Weights for Balanced<'_> {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        match self.changed.get(&id) {
            Some(bytes) => {
                let shape = self.network.weights[id.index()].shape.clone();
                TensorView { dtype: DType::F32, shape, bytes }
            }
            None => self.weights.weight(id),
        }
    }
}

/// The group of each balance.
///
/// # Errors
/// Which balance is of none, or has factors for other channels.
pub fn groups_of(network: &Network, balances: &[Balance]) -> Result<Vec<Group>, ScalesError> {
    let known = if balances.is_empty() { Vec::new() } else { super::groups(network) };
    let names = |ids: &[WeightId]| -> Vec<&str> {
        ids.iter().map(|id| network.weights[id.index()].name.as_str()).collect()
    };
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names
    };
    let of = |balance: &Balance| {
        let refused = |why: String| ScalesError::Balance { weights: balance.multiplied.join(", "), why };
        let is_same = |ids: &[WeightId], given: &[String]| {
            let mut own = names(ids);
            own.sort_unstable();
            own == sorted(given)
        };
        let by_divided = known.iter().find(|group| is_same(&group.divided, &balance.divided));
        let Some(group) = by_divided else {
            return Err(refused(format!(
                "nothing is given what {} alone scales",
                balance.divided.join(", ")
            )));
        };
        if !is_same(&group.multiplied, &balance.multiplied) {
            let expected = names(&group.multiplied).join(", ");
            return Err(refused(format!("expected all that are given the same, {expected}")));
        }
        if group.n_channels != balance.factors.len() {
            let (expected, found) = (group.n_channels, balance.factors.len());
            return Err(refused(format!("expected {expected} factors, one for each channel, found {found}")));
        }
        Ok(group.clone())
    };
    balances.iter().map(of).collect()
}
