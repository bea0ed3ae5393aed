package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// How long a cluster's certificates are good for; a cluster lives for hours.
const validity = 365 * 24 * time.Hour

// makeKeys writes the keys of a cluster into a directory: `ca`, the signer of service account tokens `sa`, and one pair
// for each further argument: `server=FILE=NAME,ADDRESS,…` or `client=FILE=USER=GROUP`.
func makeKeys(arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("usage: keys DIRECTORY [server=FILE=NAME,ADDRESS,… | client=FILE=USER=GROUP]…")
	}
	directory := arguments[0]
	authority, key, err := makeAuthority(directory)
	if err != nil {
		return err
	}
	if err := makeTokenSigner(directory); err != nil {
		return err
	}
	for _, argument := range arguments[1:] {
		file, template, err := parse(argument)
		if err != nil {
			return err
		}
		if _, _, err := issue(filepath.Join(directory, file), template, authority, key); err != nil {
			return err
		}
	}
	return nil
}

func makeAuthority(directory string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	return issue(filepath.Join(directory, "ca"), &x509.Certificate{
		Subject:               pkix.Name{CommonName: "weft-cluster"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}, nil, nil)
}

func makeTokenSigner(directory string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(directory, "sa"), key); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(directory, "sa.pub"), "PUBLIC KEY", public)
}

func parse(argument string) (string, *x509.Certificate, error) {
	template := &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature}
	parts := strings.Split(argument, "=")
	switch {
	case len(parts) == 3 && parts[0] == "server":
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		for _, name := range strings.Split(parts[2], ",") {
			if address := net.ParseIP(name); address != nil {
				template.IPAddresses = append(template.IPAddresses, address)
			} else {
				template.DNSNames = append(template.DNSNames, name)
			}
		}
		template.Subject.CommonName = parts[1]
	case len(parts) == 4 && parts[0] == "client":
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		template.Subject.CommonName = parts[2]
		template.Subject.Organization = []string{parts[3]}
	default:
		return "", nil, fmt.Errorf("keys: %q is neither server=FILE=NAMES nor client=FILE=USER=GROUP", argument)
	}
	return parts[1], template, nil
}

// issue signs with `parent`, or with the new key itself where there is none, and writes FILE.crt and FILE.key.
func issue(file string, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, signer = template, key
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	// Clocks of a machine that sleeps jump; an hour back costs nothing.
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = template.NotBefore.Add(validity)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, nil, err
	}
	if err := writePEM(file+".crt", "CERTIFICATE", der); err != nil {
		return nil, nil, err
	}
	if err := writeKey(file, key); err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return certificate, key, err
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file+".key", "EC PRIVATE KEY", der)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
