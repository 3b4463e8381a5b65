"""What a release is checked by besides: needs tools that no other lane needs. `make release-check` gets them."""
