"""GAN unlearning, from data to rows: the GANs, their cascades, and what is measured of them."""
