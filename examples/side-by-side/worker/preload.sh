echo worker > /var/lib/role
