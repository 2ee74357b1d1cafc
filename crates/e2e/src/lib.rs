//! Tests of PsicoIA as a whole; there is no code here. What can be tested with one service
//! alone is tested there.
