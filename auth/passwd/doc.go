package passwd
