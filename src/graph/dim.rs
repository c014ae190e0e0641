//! Extents that are known when the graph is written, and extents that a run names.

use serde::{Deserialize, Serialize};

use super::LimitedBy;

/// Index into a graph's [`NamedDim`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Symbol(pub u16);

/// An extent that a run chooses, within declared bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedDim {
    /// As dumps and errors show it.
    pub name: String,
    /// Smallest value; the first golden case uses it.
    pub min: usize,
    /// Largest value; the arena is planned for it.
    pub max: usize,
    /// Every value is a multiple of this.
    pub multiple_of: usize,
    /// The limit that the maximum follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_limit: Option<LimitedBy>,
}

/// An extent of a value: fixed, or `symbol * mul / div + add`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// Known now.
    Fixed(usize),
    /// `symbol * mul / div + add`; the division leaves no remainder for any value that the symbol may take.
    Scaled {
        /// Which named extent.
        symbol: Symbol,
        /// Factor.
        mul: usize,
        /// Divisor.
        div: usize,
        /// Addend.
        #[serde(default)]
        add: usize,
    },
}

impl Dim {
    /// The symbol itself.
    pub fn of(symbol: Symbol) -> Dim {
        Dim::Scaled { symbol, mul: 1, div: 1, add: 0 }
    }

    /// `self * factor`.
    ///
    /// # Panics
    /// If that is beyond a `usize`: the graph's author made that error.
    pub fn times(self, factor: usize) -> Dim {
        self.checked_times(factor).unwrap_or_else(|| panic!("{self:?} times {factor} is beyond a usize"))
    }

    /// `self * factor`, if a `usize` holds it.
    pub(super) fn checked_times(self, factor: usize) -> Option<Dim> {
        Some(match self {
            Dim::Fixed(n) => Dim::Fixed(n.checked_mul(factor)?),
            Dim::Scaled { symbol, mul, div, add } => {
                reduced(symbol, mul.checked_mul(factor)?, div, add.checked_mul(factor)?)
            }
        })
    }

    /// `self / divisor`.
    ///
    /// # Panics
    /// If a fixed part is not a multiple of the divisor: the graph's author made that error.
    pub fn over(self, divisor: usize) -> Dim {
        match self {
            Dim::Fixed(n) => {
                assert!(n.is_multiple_of(divisor), "{n} is not a multiple of {divisor}");
                Dim::Fixed(n / divisor)
            }
            Dim::Scaled { symbol, mul, div, add } => {
                assert!(add.is_multiple_of(divisor), "{add} is not a multiple of {divisor}");
                reduced(symbol, mul, div * divisor, add / divisor)
            }
        }
    }

    /// `self + addend`.
    ///
    /// # Panics
    /// If that is beyond a `usize`: the graph's author made that error.
    pub fn plus(self, addend: usize) -> Dim {
        self.checked_plus(addend).unwrap_or_else(|| panic!("{self:?} plus {addend} is beyond a usize"))
    }

    /// `self + addend`, if a `usize` holds it.
    pub(super) fn checked_plus(self, addend: usize) -> Option<Dim> {
        Some(match self {
            Dim::Fixed(n) => Dim::Fixed(n.checked_add(addend)?),
            Dim::Scaled { symbol, mul, div, add } => {
                Dim::Scaled { symbol, mul, div, add: add.checked_add(addend)? }
            }
        })
    }

    /// Its value for a run's extents, which stand in the order of the graph's dims. The verifier keeps its parts so small that
    /// nothing overflows here.
    ///
    /// # Panics
    /// If there are fewer extents than its symbol needs.
    pub fn value(self, extents: &[usize]) -> usize {
        match self {
            Dim::Fixed(n) => n,
            Dim::Scaled { symbol, mul, div, add } => extents[symbol.0 as usize] * mul / div + add,
        }
    }
}

fn reduced(symbol: Symbol, mul: usize, div: usize, add: usize) -> Dim {
    let (mut a, mut b) = (mul, div);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    Dim::Scaled { symbol, mul: mul / a, div: div / a, add }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        Dim::Fixed(n)
    }
}

impl From<Symbol> for Dim {
    fn from(symbol: Symbol) -> Dim {
        Dim::of(symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_there_and_back_is_the_symbol() {
        let n = Dim::of(Symbol(0));
        assert_eq!(n.over(4).times(4), n);
        assert_eq!(n.over(4).plus(1).value(&[12]), 4);
        assert_eq!(n.plus(4).over(4).value(&[12]), 4);
        assert_eq!(Dim::Fixed(6).over(3), Dim::Fixed(2));
    }

    #[test]
    fn what_a_usize_does_not_hold_is_nothing() {
        let n = Dim::of(Symbol(0)).plus(2);
        assert_eq!(n.checked_plus(usize::MAX - 2).map(|d| d.value(&[0])), Some(usize::MAX));
        assert_eq!(n.checked_plus(usize::MAX - 1), None);
        assert_eq!(n.checked_times(usize::MAX), None);
        assert_eq!(n.checked_times(3), Some(Dim::Scaled { symbol: Symbol(0), mul: 3, div: 1, add: 6 }));
        assert_eq!(Dim::Fixed(3).checked_times(usize::MAX / 2), None);
        assert_eq!(Dim::Fixed(2).checked_plus(usize::MAX), None);
    }
}
