//! Perihelion.
