# filled in below by the install rules
