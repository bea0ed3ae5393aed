// Package conformance is the Gateway API's own suite as a program of ours: its flags choose profiles and tests.
package conformance

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) {
	conformance.RunConformance(t)
}
