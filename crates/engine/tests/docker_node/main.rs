//! A docker node on a real engine, with a real Compose v2. Without them these tests fail and say how
//! to get them.

#[cfg(test)]
mod apps;
#[cfg(test)]
mod boot;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod escape_spellings;
#[cfg(test)]
mod escapes;
#[cfg(test)]
mod life;
#[cfg(test)]
mod neighbours;
#[cfg(test)]
mod world;
