//! Side by side: what a request costs here and elsewhere.
