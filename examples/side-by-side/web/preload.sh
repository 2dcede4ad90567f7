echo web > /var/lib/role
